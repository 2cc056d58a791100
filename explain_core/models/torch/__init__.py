"""PyTorch weights: state dicts, the checkpoints around them, and the models they belong to."""
