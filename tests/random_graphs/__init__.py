"""Random models as recipes: plain data that a slow reference, PyTorch and TensorFlow each read in their own way.

A recipe is a list of steps. Every step makes one stream (time, WIDTH) for each sample from streams before it.
"""
