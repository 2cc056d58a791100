"""Text files as tables of text cells: encoding, separator, comments and header are found by looking."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass

import pandas as pd

from explain_core.errors import Fix, SequenceFileError
from explain_core.sequences.contents import Contents, Found
from explain_core.sequences.numbers import is_number
from explain_core.sequences.options import MAX_TEXT_CELLS, Options
from explain_core.sequences.table import Table, check_columns
from explain_core.sequences.times import is_date

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_SAMPLE = 200  # lines that tell the separator and the header
_LONGEST_TITLE = 30  # lines
_SAMPLE_CHARACTERS = 2**17
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(file: Contents, options: Options) -> Found:
    """The table in a CSV, TSV or similar file, and its format in words.

    Raises:
        SequenceFileError: says the row and the column.
    """
    notes: list[str] = []
    where = file.where
    text = decode(file.data, where, notes)
    lines = _Lines(text, where)
    separator = lines.separator or _separator(lines)
    rows = _without_remarks(_without_title(_rows(lines, separator, where), notes), notes)
    if not rows:
        raise SequenceFileError("The file has no row of values.", where=where, hint="It needs a row for each timestep.")
    header, rows = _header(rows, lines, options, where, notes)
    rows = _without_units(header, rows, notes)
    if not rows:
        raise SequenceFileError("There is a header but no row of values.", where=where)
    header, rows = _evened(header, rows, where)
    check_columns(len(header), where)
    frame = pd.DataFrame(list(rows.values()), index=list(rows), columns=range(len(header)), dtype=object)
    kept = [i for i in range(len(header)) if header[i] or (frame[i] != "").any()]
    frame = frame[kept]
    frame.columns = header = [header[i] for i in kept]
    _check_names(header, where)
    names = {",": "CSV", "\t": "Tab-separated text"}
    words = names.get(separator, f"Text separated by {_SEPARATORS[separator]}")
    return Found(Table(frame, where, tuple(notes)), format=words)


def decode(data: bytes, where: str, notes: list[str]) -> str:
    """Bytes as text: by the byte order mark, else UTF-8, else the Western European of Windows, which is said.

    Raises:
        SequenceFileError: it is no text.
    """
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), None)
    if encoding is None:
        head = data[:4096]
        zeros = head[0::2].count(0), head[1::2].count(0)
        half = len(head) // 4
        encoding = "utf-16-be" if zeros[0] > half >= zeros[1] else "utf-16-le" if zeros[1] > half >= zeros[0] else None
    if encoding is None and b"\0" in data:
        raise SequenceFileError(
            "The file is not text, nor another kind of file that PairLift knows.",
            where=where,
            hint="PairLift reads sequences from CSV, TSV, Parquet, NPY, NPZ and JSON files.",
        )
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise SequenceFileError(
                f"The text is damaged: it starts as {encoding.upper()} and does not go on as such ({error.reason}).",
                where=f"{where}, byte {error.start}",
                hint="Save it as CSV UTF-8.",
            ) from None
        text = data.decode("cp1252", errors="replace")
        notes.append("The text is not UTF-8; it was read as Western European (Windows-1252).")
    if "\0" in text:
        raise SequenceFileError("The file is not text.", where=where, hint="Save it as CSV UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n")  # whichever systems wrote the file, or parts of it


@dataclass
class _Lines:
    """The text without comments; ``comment`` is the last of those before the data, with its mark taken off."""

    text: str
    where: str
    comment: str = ""
    separator: str = ""

    def __post_init__(self) -> None:
        first, _, rest = self.text.partition("\n")
        if declared := re.fullmatch(r"sep=(.)\s*", first):  # Excel's own way to say it
            self.separator = declared[1]
            self.text = "\n" + rest  # rows keep their numbers
        if re.search(r"^[^\S\n]*#", self.text, re.MULTILINE):
            lines = self.text.split("\n")
            at = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), 0)
            before = [line.strip().lstrip("# ") for line in lines[:at] if line.strip()]
            self.comment = before[-1] if before else ""
            self.text = "\n".join("" if line.lstrip().startswith("#") else line for line in lines)

    def sample(self) -> str:
        lines = (line for line in self.text[:_SAMPLE_CHARACTERS].splitlines() if line.strip())
        return "\n".join(line for line, _ in zip(lines, range(_SAMPLE), strict=False))


def _separator(lines: _Lines) -> str:
    """The separator under which the rows have one width and most cells are numbers, dates or empty."""
    sample = lines.sample()
    best, best_score = ",", (0.0, 0.0, 0)
    for candidate in _SEPARATORS:
        rows = _split(sample, candidate)
        widths = [len(row) for row in rows]
        if not rows or max(widths) < 2:
            continue
        body = rows[1:] or rows
        usual = max(set(widths), key=widths.count)
        cells = [cell for row in body for cell in row]
        understood = sum(not cell or is_number(cell) or is_date(cell) for cell in cells) / len(cells)
        even = widths.count(usual) / len(widths)
        if candidate == " " and usual < 2:
            continue
        # Spaces stand inside texts and dates, so they come last, and only where the rows are even.
        score = (even * understood - (0.25 if candidate == " " else 0), even, usual)
        if candidate == " " and even < 1:
            continue
        if score > best_score:
            best, best_score = candidate, score
    if best_score == (0.0, 0.0, 0):
        return ","
    return best


def _split(text: str, separator: str) -> list[list[str]]:
    if separator == " ":
        return [line.split() for line in text.splitlines() if line.strip()]
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator)]
    except csv.Error:
        return []


def _rows(lines: _Lines, separator: str, where: str) -> dict[int, list[str]]:
    """The rows that are not blank, by the number of their line."""
    rows: dict[int, list[str]] = {}
    count = 0
    if separator == " ":
        reader = ((number, line.split()) for number, line in enumerate(lines.text.splitlines(), 1))
    else:
        plain = csv.reader(io.StringIO(lines.text), delimiter=separator, skipinitialspace=True)
        reader = ((plain.line_num, row) for row in plain)
    number = 0
    try:
        for number, row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows[number] = cells
                count += len(cells)
                if count > MAX_TEXT_CELLS:
                    raise SequenceFileError(
                        f"The file has more than {MAX_TEXT_CELLS:,} cells.",
                        where=f"{where}, row {number}",
                        hint="Give the sequences that you want to explain, not the whole data set, or an NPY file.",
                    )
    except csv.Error as error:
        raise SequenceFileError(f"The file is not CSV: {error}.", where=f"{where}, row {number + 1}") from None
    if rows and separator != " " and not lines.text.rstrip().endswith('"'):
        _require_closed(list(rows)[-2:], rows, where)
    return rows


def _require_closed(last: list[int], rows: dict[int, list[str]], where: str) -> None:
    """Refuse a last row that swallowed others, since a quotation mark before them is never closed."""
    number, begins = last[-1], (last[0] if len(last) > 1 else 0) + 1
    swallowing = [cell for cell in rows[number] if "\n" in cell]
    if swallowing and number > begins and '"' not in swallowing[-1] and rows[number][-1] is swallowing[-1]:
        raise SequenceFileError(
            f"A quotation mark is never closed, so that {number - begins} rows are in one cell.",
            where=f"{where}, row {begins}",
            hint="Close it, or take it away.",
        )


def _without_title(rows: dict[int, list[str]], notes: list[str]) -> dict[int, list[str]]:
    """Without the lines of one text each that stand above the names of the columns."""
    title = []
    for number, row in rows.items():
        alone = [cell for cell in row if cell]
        if len(alone) > 1 or not row[0] or is_number(row[0]) or is_date(row[0]):
            break
        title.append(number)
        if len(title) > _LONGEST_TITLE:
            return rows
    below = [row for number, row in rows.items() if number not in title]
    is_above_names = len(below) > 1 and not any(is_number(cell) or is_date(cell) for cell in below[0] if cell)
    if not title or not is_above_names or len({len(row) for row in below}) > 1:
        return rows
    shown = ", ".join(repr(rows[number][0][:40]) for number in title[:3]) + (", ..." if len(title) > 3 else "")
    notes.append(f"Left out above the names of the columns: {shown}.")
    return {number: row for number, row in rows.items() if number not in title}


def _without_remarks(rows: dict[int, list[str]], notes: list[str]) -> dict[int, list[str]]:
    """Without the lines of one text each that stand below the table, where all other rows are wider."""
    remarks: list[int] = []
    for number, row in reversed(rows.items()):
        if len(row) > 1 or is_number(row[0]) or is_date(row[0]):
            break
        remarks.append(number)
        if len(remarks) > _LONGEST_TITLE:
            return rows
    remarks.reverse()
    if not remarks or any(len(rows[n]) == 1 for n in rows if n not in remarks):
        return rows
    if len(remarks) == len(rows):
        return rows
    notes.append(f"Left out below the table: {', '.join(repr(rows[number][0][:40]) for number in remarks[:3])}.")
    return {number: row for number, row in rows.items() if number not in remarks}


def _without_units(header: list[str], rows: dict[int, list[str]], notes: list[str]) -> dict[int, list[str]]:
    """Without a row of words between the names and nothing but numbers and dates: that of units."""
    first, *others = rows or [0]
    if len(others) < 2 or first == 1:  # the file has no row of names above it
        return rows
    words = rows[first]
    is_words = any(cell and not is_number(cell) for cell in words) and not any(
        is_date(cell) or (is_number(cell) and cell != "-") for cell in words
    )
    below = [cell for number in others[:_SAMPLE] for cell in rows[number]]
    if not is_words or not all(not cell or is_number(cell) or is_date(cell) for cell in below):
        return rows
    notes.append(f"Row {first} is left out: {', '.join(map(repr, words[:4]))} are units or the like, not values.")
    return {number: rows[number] for number in others}


def _header(
    rows: dict[int, list[str]], lines: _Lines, options: Options, where: str, notes: list[str]
) -> tuple[list[str], dict[int, list[str]]]:
    """The names of the columns, and the rows below them."""
    first, *others = rows
    if options.header if options.header is not None else _is_header(rows[first], [rows[n] for n in others[:_SAMPLE]]):
        return rows[first], {number: rows[number] for number in others}
    width = len(rows[first])
    names = next(
        (found for found in (_split(lines.comment, s)[:1] for s in _SEPARATORS) if found and len(found[0]) == width),
        None,
    )
    if names and not all(is_number(name) for name in names[0]) and len(set(names[0])) == width:
        return names[0], rows
    notes.append("The file has no row of names, so the columns are numbered.")
    return [f"column {i + 1}" for i in range(width)], rows


def _is_header(first: list[str], others: list[list[str]]) -> bool:
    """Whether the first row is unlike the others: words above numbers, or the counts that pandas writes as names."""
    if not others:
        return not any(is_number(cell) for cell in first)
    counts = [str(i) for i in range(len(first))]
    if len(first) > 1 and (first == counts or (not first[0] and first[1:] == counts[:-1])):
        return not all(cell.lstrip("-").isdigit() for row in others[:50] for cell in row)
    numeric = [is_number(cell) for cell in first]
    if not any(numeric):
        below = [row[i] for row in others[:50] for i in range(min(len(row), len(first)))]
        dates = any(is_date(cell) for cell in first)
        return not dates or not any(is_number(cell) for cell in below) or _words_above_numbers(first, others)
    return _words_above_numbers(first, others)


def _words_above_numbers(first: list[str], others: list[list[str]]) -> bool:
    for i, cell in enumerate(first):
        below = [row[i] for row in others[:50] if i < len(row) and row[i]]
        is_word = cell and not is_number(cell) and not is_date(cell)
        if is_word and below and all(is_number(each) or is_date(each) for each in below):
            return True
    return False


def _evened(header: list[str], rows: dict[int, list[str]], where: str) -> tuple[list[str], dict[int, list[str]]]:
    """One cell per column in every row: blank cells too many are dropped, a column of row names gets a header."""
    widths = {len(row) for row in rows.values()}
    if widths == {len(header) + 1} and header[-1]:  # R writes row names without a name above them
        header = ["", *header]
    width = len(header)
    if widths == {width}:
        return header, rows
    evened = {}
    for number, row in rows.items():
        if len(row) > width and not any(row[width:]):
            row = row[:width]
        if len(row) != width:
            raise SequenceFileError(
                f"The row has {len(row)} cells where the header has {width}.",
                where=f"{where}, row {number}",
                hint="Every row needs one cell per column.",
            )
        evened[number] = row
    return header, evened


def _check_names(header: list[str], where: str) -> None:
    seen: set[str] = set()
    for position, name in enumerate(header):
        if not name and name in seen:
            raise SequenceFileError(
                "Two columns have no name.",
                where=f"{where}, row 1, column {position + 1}",
                hint="Name them, or drop them.",
            )
        if name in seen:
            raise SequenceFileError(
                f"Two columns are called {name!r}.",
                where=f"{where}, row 1",
                hint="Give each its own name.",
                fixes=(Fix("The first row is not names", {"header": False}),) if is_number(name) else (),
            )
        seen.add(name)
