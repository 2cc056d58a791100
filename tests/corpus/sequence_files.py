"""One valid file of sequences for every form that PairLift reads, all of the same numbers where the form allows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd

VALUES = np.array([[1.5, -2.0], [2.25, 0.0], [3.0, 1e-3], [4.5, 7.0]])
NAMES = ["speed", "slope"]
DATES = [f"2024-01-0{i + 1}" for i in range(len(VALUES))]

_WORDS = {"<pad>": 0, "<unk>": 1, "the": 2, "cat": 3, "sat": 4}


def valid_files(folder: Path) -> dict[str, Path]:
    """Write the files into ``folder``; returns them by the name of their form."""
    made = {name: folder / file for name, (file, _) in _FILES.items()}
    for name, path in made.items():
        content = _FILES[name][1]
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return made


def files_beside(folder: Path) -> dict[str, Path]:
    """What is given beside sequences: scalings, vocabularies and texts. The name says which of them a file is."""
    tokenizer = {"class_name": "Tokenizer", "config": {"word_index": json.dumps(_WORDS), "oov_token": "<unk>"}}
    contents = {
        "scaling.csv": "feature,mean,scale\nspeed,2.5,1.5\nslope,0.1,3\n",
        "scaling.json": json.dumps({"mean_": [2.5, 0.1], "scale_": [1.5, 3.0], "feature_names_in_": NAMES}),
        "scaling-by-feature.json": json.dumps({name: {"min": 0, "max": 2.5} for name in NAMES}),
        "vocabulary.json": json.dumps(_WORDS),
        "vocabulary-list.json": json.dumps(list(_WORDS)),
        "vocabulary-keras.json": json.dumps(tokenizer),
        "vocabulary.txt": "\n".join(_WORDS),
        "texts.txt": "the cat sat\nthe dog sat\n",
        "texts.json": json.dumps({"one": "the cat sat", "two": "the cat"}),
        "texts.csv": "id,review\na,the cat sat\nb,the cat\n",
        "texts.parquet": _parquet(pd.DataFrame({"text": ["the cat sat", "the cat"]})),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return {name: folder / name for name in contents}


def _lines(separator: str = ",", decimal: str = ".", header: bool = True) -> str:
    rows = [separator.join(str(v).replace(".", decimal) for v in row) for row in VALUES]
    return "\n".join([*([separator.join(NAMES)] if header else []), *rows]) + "\n"


def _frame(**more: object) -> pd.DataFrame:
    return pd.DataFrame({**more, **{name: VALUES[:, i] for i, name in enumerate(NAMES)}})


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(*, compressed: bool = True, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def _savetxt() -> str:
    buffer = io.StringIO()
    np.savetxt(buffer, VALUES, header=" ".join(NAMES))
    return buffer.getvalue()


_LONG = _frame(sequence=["a", "a", "b", "b"])
_FILES: dict[str, tuple[str, str | bytes]] = {
    "csv": ("plain.csv", _lines()),
    "tsv": ("tabs.tsv", _lines("\t")),
    "semicolons": ("semi.csv", _lines(";")),
    "decimal comma": ("komma.csv", _lines(";", ",")),
    "bars": ("bars.txt", _lines("|")),
    "spaces": ("spaces.txt", _lines("   ", header=False)),
    "headerless": ("headerless.csv", _lines(header=False)),
    "comments": ("comments.csv", "# written by hand\n# twice\n" + _lines()),
    "savetxt": ("savetxt.txt", _savetxt()),
    "utf-8 with mark": ("mark.csv", _lines().encode("utf-8-sig")),
    "utf-16": ("utf16.csv", _lines().encode("utf-16")),
    "crlf": ("crlf.csv", _lines().replace("\n", "\r\n")),
    "pandas index": ("index.csv", _frame().to_csv()),
    "blank columns and rows": ("blank.csv", _lines().replace("\n", ",,\n") + ",,,\n\n"),
    "dates": ("dates.csv", _frame(date=DATES).to_csv(index=False)),
    "long form": ("long.csv", _LONG.to_csv(index=False)),
    "quoted": ("quoted.csv", "\n".join(",".join(f'"{c}"' for c in row) for row in [NAMES, *VALUES])),
    "parquet": ("plain.parquet", _parquet(_frame())),
    "parquet dates": ("dates.parquet", _parquet(_frame().set_index(pd.DatetimeIndex(DATES)))),
    "parquet long": ("long.parquet", _parquet(_LONG)),
    "npy": ("plain.npy", _npy(VALUES)),
    "npy float32": ("single.npy", _npy(VALUES.astype(np.float32))),
    "npy big-endian": ("big.npy", _npy(VALUES.astype(">f8"))),
    "npy samples": ("samples.npy", _npy(VALUES.reshape(2, 2, 2))),
    "npy by column": ("fortran.npy", _npy(np.asfortranarray(VALUES))),
    "npz": ("plain.npz", _npz(x=VALUES)),
    "npz stored": ("stored.npz", _npz(compressed=False, x=VALUES, feature_names=np.array(NAMES))),
    "npz mask": ("mask.npz", _npz(x=VALUES.reshape(2, 2, 2), mask=np.array([[1, 1], [1, 0]]))),
    "json rows": ("rows.json", json.dumps(VALUES.tolist())),
    "json records": ("records.json", _frame().to_json(orient="records")),
    "json lines": ("lines.jsonl", _frame().to_json(orient="records", lines=True)),
    "json columns": ("columns.json", json.dumps({n: VALUES[:, i].tolist() for i, n in enumerate(NAMES)})),
    "json pandas": ("pandas.json", _frame().to_json()),
    "json split": ("split.json", _frame().to_json(orient="split")),
    "json sequences": ("sequences.json", json.dumps({"sequences": [VALUES.tolist()], "features": NAMES})),
    "json ragged": ("ragged.json", json.dumps([VALUES.tolist(), VALUES[:2].tolist()])),
}
