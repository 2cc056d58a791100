"""Which tests need a process without PyTorch: TensorFlow, once loaded, makes the processor round denormal numbers
to zero, and PyTorch's own results then differ. `make test` therefore runs the two groups one after the other."""

import os

import pytest

os.environ.setdefault("PAIRLIFT_SPARES", "0")  # processes that get ready for nobody slow down the tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(word in item.nodeid for word in ("tensorflow", "keras_model", "test_models_keras")):
            item.add_marker("tensorflow")
