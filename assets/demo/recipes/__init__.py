"""How each demo is made: one module per demo, and what they share."""
