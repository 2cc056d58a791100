"""Keras models in `.keras` and HDF5 files, those of Keras 2 too."""
