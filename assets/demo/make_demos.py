"""Makes the demos again, from the raw data to the trained models: `python assets/demo/make_demos.py`.

Every recipe fixes its seeds, runs on one CPU thread and checks what it has written.
"""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
from pathlib import Path

DEMO_ROOT = Path(__file__).resolve().parent
RECIPES = {
    "seattle-weather": "recipes.seattle_weather",
    "japanese-vowels": "recipes.japanese_vowels",
    "el-nino": "recipes.el_nino",
    "snowmelt": "recipes.snowmelt",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", nargs="*", default=list(RECIPES), help=f"which demos: {', '.join(RECIPES)}")
    parser.add_argument("--wheels", type=Path, help="folder of downloaded raw data; what it lacks is added")
    parser.add_argument("--out", type=Path, default=DEMO_ROOT, help="write the demos' folders here")
    options = parser.parse_args()
    if unknown := set(options.demo) - set(RECIPES):
        parser.error(f"no demo called {', '.join(sorted(unknown))}; there is: {', '.join(RECIPES)}")
    # Read by the frameworks when they are first imported, which the recipes do.
    os.environ.update(OMP_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
    os.environ.update(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
    from recipes import data

    with tempfile.TemporaryDirectory() as scratch:
        wheels = options.wheels or Path(scratch)
        data.download(wheels)
        for slug in options.demo:
            folder = options.out / slug
            folder.mkdir(parents=True, exist_ok=True)
            importlib.import_module(RECIPES[slug]).make(wheels, folder)
            print(f"{slug}: done")


if __name__ == "__main__":
    main()
