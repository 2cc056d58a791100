"""Which tests need a process without PyTorch: TensorFlow, once loaded, makes the processor round denormal numbers
to zero, and PyTorch's own results then differ. `make test` therefore runs the two groups one after the other.

With several processes a file is run by one of them, the longest files first: one that came last would run alone.
"""

import atexit
import gc
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest

os.environ.setdefault("PAIRLIFT_SPARES", "0")  # processes that get ready for nobody slow down the tests

# Kept runs of tests go with them, and are not those of whoever runs them.
os.environ["PAIRLIFT_DATA"] = tempfile.mkdtemp(prefix="pairlift-test-")
atexit.register(shutil.rmtree, os.environ["PAIRLIFT_DATA"], ignore_errors=True)

# Files that take longer than the number of their tests lets expect. The others go by that.
LONG = (
    *("test_random_graphs", "test_app", "test_docs", "test_isolation", "test_app_browser", "test_methods_page"),
    *("test_app_browser_journeys", "test_app_browser_accessible", "test_stage_browser", "test_app_browser_runs"),
    *("test_app_data", "test_app_baselines", "test_app_inputs", "test_app_address", "test_app_browser_checks"),
    *("test_conformance", "test_app_browser_server", "test_axes_app", "test_peers", "test_packaging"),
    *("test_tensorflow_random_graphs", "test_tensorflow_conformance", "test_tensorflow_parity"),
)


# What stands in the name of a test, or of its file, that needs TensorFlow.
TENSORFLOW = ("tensorflow", "keras_model", "test_models_keras")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Not to import TensorFlow where none of its tests is to be run."""
    not_here = "not tensorflow" in config.option.markexpr and any(word in collection_path.name for word in TENSORFLOW)
    return True if not_here else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if any(word in item.nodeid for word in TENSORFLOW):
            item.add_marker("tensorflow")
    if hasattr(config, "workerinput"):  # one of several processes
        tests = Counter(item.path for item in items)
        places = {name: place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: (places.get(item.path.stem, len(LONG)), -tests[item.path], item.path))


def pytest_collection_finish() -> None:
    """Leave what is imported out of collecting garbage: it is up to a million objects, and Streamlit has them looked
    through after each run of the script."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Have it collected at the end, where nanobind complains of what is left."""
    gc.unfreeze()
