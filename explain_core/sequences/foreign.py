"""What people give by mistake for a file of sequences, named, with what to do instead."""

from __future__ import annotations

import re

from explain_core.errors import SequenceFileError

# First bytes of what people give by mistake: (bytes, offset, what it is, what to do)
_OTHERS = (
    (b"\x1f\x8b", 0, "a gzip archive", "Unpack it first."),
    (b"\x89HDF\r\n\x1a\n", 0, "an HDF5 file", "Save the array as NPY: np.save(path, file['name'][:])."),
    (b"MATLAB 5.0", 0, "a MATLAB file", "Save the array as NPY: np.save(path, scipy.io.loadmat(path)['name'])."),
    (b"\xd0\xcf\x11\xe0", 0, "an old Excel workbook", "Save the sheet as CSV UTF-8."),
    (b"ARROW1", 0, "a Feather file", "Write it as Parquet: frame.to_parquet(path)."),
    (b"%PDF", 0, "a PDF", "Give the table that it was made from, as CSV."),
    (b"\x89PNG", 0, "an image", "Give the numbers, as CSV or NPY."),
    (b"\xff\xd8\xff", 0, "an image", "Give the numbers, as CSV or NPY."),
    (b"version https://git-lfs", 0, "a git-LFS pointer, not the file itself", "Fetch the file: git lfs pull."),
)
_WEB = (b"<!doctype html", b"<html")
_MARKUP = re.compile(rb"<\?xml|<!|<(table|svg|div|body|head|root|data)\b", re.IGNORECASE)
_OF_WEKA = re.compile(rb"(\s*%[^\n]*\n)*\s*@(relation|problemname)\b", re.IGNORECASE)


def refuse_others(data: bytes, where: str) -> None:
    """Name what people give by mistake.

    Raises:
        SequenceFileError: it is a pickle, a workbook, an archive, a model, an image, a web page, ...
    """
    what = next(((name, hint) for mark, at, name, hint in _OTHERS if data[at:].startswith(mark)), None)
    if what is None and data[:200].lstrip().lower().startswith(_WEB):
        what = "a web page, perhaps an error of the site it was loaded from", "Load the file itself."
    if what is None and _MARKUP.match(data[:200].removeprefix(b"\xef\xbb\xbf").lstrip()):
        what = "a text with marks (XML, HTML), not a table", "Write the values as CSV or JSON."
    if what is None and _OF_WEKA.match(data[:10_000]):
        what = (
            "an ARFF or .ts file",
            "Load it with the library that it is for, and save the numbers: np.save(path, values).",
        )
    if what is None and data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05" and b"." in data[-3:]:
        what = (
            "a pickle, which can run code when read",
            "Save plain numbers: np.save(path, values) or frame.to_csv(path).",
        )
    if what is None and data.startswith(b"PK"):
        if b"xl/" in data and b"[Content_Types].xml" in data:
            what = "an Excel workbook", "In Excel: File, Save as, CSV UTF-8. In pandas: frame.to_csv(path)."
        elif b"opendocument.spreadsheet" in data[:200]:
            what = "a LibreOffice spreadsheet", "Save the sheet as CSV UTF-8."
        elif b"data.pkl" in data or b"config.json" in data or b"archive_format" in data:
            what = "a model or a pickle in an archive, not sequences", "Give it as the model."
        elif b".npy" not in data:
            what = "a ZIP archive", "Unpack it first."
    if what is not None:
        raise SequenceFileError(f"This is {what[0]}.", where=where, hint=what[1])
