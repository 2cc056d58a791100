"""TensorFlow SavedModels, looked through before anything of them runs."""
