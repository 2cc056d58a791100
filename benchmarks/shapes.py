"""The sizes of recurrent layers that speed is measured on: (sample, time, input, hidden)."""

SHAPES = (
    (1, 100, 8, 32),
    (1, 1000, 8, 64),
    (16, 200, 9, 64),
    (64, 100, 32, 128),
    (256, 50, 16, 256),
    (8, 1000, 4, 32),
    (32, 200, 64, 512),
)
