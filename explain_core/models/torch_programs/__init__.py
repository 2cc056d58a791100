"""PyTorch models that are programs: `.pt2` files and TorchScript, looked through before anything of them runs."""
