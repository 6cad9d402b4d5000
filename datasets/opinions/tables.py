"""Tables on disk: one reader for training lists, image lists, scores and labels, and one writer.

A table is CSV (comma, tab or semicolon; UTF-8, or UTF-16 with its mark), or an Excel workbook (.xlsx). Numbers have
decimal points; between semicolons they may have decimal commas. Everything else is refused.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from common import log
from common.atomic_files import whole_file
from networks.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# Captions and prompts beside the scores can be longer than the 128 KiB that Python allows a field.
csv.field_size_limit(1 << 30)

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
"""Endings of files that hold a table; ``read_csv`` itself tells CSV and workbooks apart by their content."""

IMAGE = "image"
"""The column of image paths in a table that was read, whatever its name in the file."""

AS_WRITTEN = "as written"
"""The column of paths as they are in the file, which ``read_csv`` may have changed."""

SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon"}

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_WINDOWS_ROOT = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def read_bytes(path: str | os.PathLike, where: str) -> bytes:
    """The content of a file, which messages call ``where``; UserError where it is missing or cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{where} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise UserError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def decode(content: bytes) -> str:
    """UTF-8, with a byte-order mark or without; file names that are not valid UTF-8 keep their bytes."""
    return content.decode("utf-8-sig", "surrogateescape")


def read_csv(
    csv_path: str | os.PathLike,
    required: tuple[str, ...],
    what: str,
    *,
    optional: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
    sheet: str | None = None,
    as_written: bool = False,
) -> pd.DataFrame:
    """A CSV, or an .xlsx workbook, as a table of strings, indexed by line number, without its blank lines.

    ``required`` names columns of image paths; the first that is there becomes the column ``IMAGE``. ``optional`` and
    ``numbers`` name the other columns that the caller reads. Case, and blanks around and in names, do not matter.
    Between semicolons, decimal commas in ``numbers`` become points. ``what`` names the kind of table in messages,
    ``sheet`` a workbook's sheet. One line reports how the file was read, unless it is plain CSV. With ``as_written``
    the column ``AS_WRITTEN`` has the paths without any change.

    Raises UserError for a missing file, a file that is no table or can be read in two ways, a table without any of
    the required columns, and a table without rows.
    """
    where = f"{what} {os.fspath(csv_path)}"
    content = read_bytes(csv_path, where)
    needed = {_spelling(name) for name in required}
    try:
        workbook = content.startswith(b"PK\x03\x04")
        numbered, separator, form = _read_workbook(content, needed, sheet) if workbook else _read_text(content, needed)
        header, rows, lines = _rectangle(numbered)
        columns = _columns(header, (*required, *optional, *numbers))
    except UserError as error:
        raise UserError(f"{where} cannot be read: {error}") from None
    images = next((name for name in required if name in columns), None)
    if images is None:
        expected = " or ".join(f"'{name}'" for name in required)
        remedy = "; columns are separated by commas, tabs or semicolons" if len(header) == 1 else ""
        raise UserError(f"{where} has no column {expected}; its columns are: {listed(header)}{remedy}")
    if not rows:
        raise UserError(f"{where} lists no images")
    given = [row[columns[images]] for row in rows]
    folder = Path(csv_path).parent
    cells = {IMAGE: [_plain_name(image, folder) for image in given]}
    if as_written:
        cells[AS_WRITTEN] = given
    changes = []
    for name in [name for name in columns if name not in (IMAGE, *required)]:
        cells[name] = [row[columns[name]] for row in rows]
        if name in numbers:
            cells[name] = [text.strip() for text in cells[name]]
            if separator == ";" and any("," in text for text in cells[name]):
                cells[name] = _with_points(cells[name], lines, where)
                changes.append(f"decimal commas in '{name}'")
    changed = [(old, new) for old, new in zip(given, cells[IMAGE], strict=True) if new != old]
    if changed:
        old, new = changed[0]
        changes.append(f"{len(changed):,d} names changed ({visible(old)} to {visible(new)})")
    if form or changes:
        read_as = f" as {', '.join(form)}" * bool(form) + f" with {', '.join(changes)}" * bool(changes)
        log.info(f"{Path(csv_path).name}: read{read_as}")
    return frame(cells, lines)


def frame(columns: Mapping[str, Iterable[object]], lines: list[int] | None = None) -> pd.DataFrame:
    """A table of texts with these columns, (n,) each, indexed by line."""
    import pandas as pd  # half a second, for which a script that reads no table should not wait

    # dtype object: pandas' own string type cannot hold names that are not valid Unicode.
    table = pd.DataFrame({name: pd.Series(list(values), dtype=object) for name, values in columns.items()})
    return table if lines is None else table.set_axis(pd.Index(lines), axis=0)


def visible(text: str) -> str:
    """A text in quotation marks, with escapes for whatever cannot be seen: blanks at its ends, accents as marks."""
    seen = "".join(one if one == " " or unicodedata.category(one)[0] not in "CMZ" else ascii(one)[1:-1] for one in text)
    return "'" + re.sub(r"^ +| +$", lambda blanks: r"\x20" * len(blanks.group()), seen) + "'"


def shown(name: str) -> str:
    """A name for a message: as it is where all of it can be seen, else as ``visible`` shows it."""
    return name if visible(name) == f"'{name}'" else visible(name)


def listed(header: Iterable[object]) -> str:
    """The names of columns for a message, the first ten of them."""
    names = [shown(name[:40]) for name in map(str, header) if name.strip()]
    return ", ".join([*names[:10], *(["..."] if len(names) > 10 else [])]) or "none"


_Rows = list[tuple[int, list[str]]]
"""The rows of a table with their line numbers in the file, from 1."""


def _read_text(content: bytes, needed: set[str]) -> tuple[_Rows, str, list[str]]:
    """The rows of a CSV, its separator, and its form where that is not plain CSV.

    ``needed`` are spellings of columns, of which its header has one.
    """
    form = []
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        form.append("UTF-16")
        try:
            text = content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise UserError(f"it is UTF-16, and damaged at byte {error.start}") from None
    else:
        text = decode(content)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n")
        start = visible(text.split("\n")[line][:40])
        raise UserError(f"line {line + 1} {start} holds NUL; save the table as CSV in UTF-8, or as .xlsx")
    separator = _separator(text, needed)
    if separator != ",":
        form.append(f"{SEPARATORS[separator]}-separated")
    # A blank before a quotation mark belongs to neither name nor number.
    blanks = f'{separator} "' in text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=blanks, strict=True)
    rows: _Rows = []
    line = 1
    try:
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        # Only at its end does the reader notice a quotation mark that is never closed.
        reason = "a quotation mark is not closed" if "unexpected end" in str(error) else str(error)
        raise UserError(f"line {line}: {reason}") from None
    return rows, separator, form


def _separator(text: str, needed: set[str]) -> str:
    """The separator with which the first line names a column that is needed; a comma where none does."""
    header = next((line for line in io.StringIO(text, newline="") if line.strip(',\t; "\r\n')), "")
    splits = {one: next(csv.reader([header], delimiter=one, skipinitialspace=True), []) for one in SEPARATORS}
    fitting = [one for one, fields in splits.items() if needed & set(map(_spelling, fields))]
    if len({tuple(splits[one]) for one in fitting}) > 1:
        names = " or ".join(f"{SEPARATORS[one]}s" for one in fitting)
        raise UserError(f"its first line can be separated by {names}; keep one of them")
    return fitting[0] if fitting else ","


def _read_workbook(content: bytes, needed: set[str], sheet: str | None) -> tuple[_Rows, str, list[str]]:
    """As ``_read_text``, of ``sheet``, or of the only sheet whose first row names a column that is needed."""
    import openpyxl  # here, since few runs need it and it takes a while to load

    tables: dict[str, _Rows] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on styles and extensions, which do not matter here
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            for one in book.worksheets:
                # As texts, a date never looks like a number.
                rows = (["" if cell is None else str(cell) for cell in row] for row in one.iter_rows(values_only=True))
                numbered = [(line, row) for line, row in enumerate(rows, start=1) if any(cell.strip() for cell in row)]
                if numbered:
                    tables[one.title] = numbered
    except Exception as error:  # damaged files raise errors of many kinds in openpyxl
        reason = " ".join(str(error).split())
        raise UserError(f"it is not an Excel workbook (.xlsx), or is damaged: {reason}") from None
    if sheet is not None and sheet not in tables:
        raise UserError(f"it has no sheet {sheet!r}; its sheets are: {', '.join(tables)}")
    headers = {title: set(map(_spelling, rows[0][1])) for title, rows in tables.items()}
    found = [sheet] if sheet is not None else [title for title, names in headers.items() if needed & names]
    if len(found) > 1:
        raise UserError(f"its sheets {' and '.join(map(repr, found))} both hold such a table; keep one of them")
    title = next(iter([*found, *tables]), "")
    return tables.get(title, []), ",", [f"an Excel workbook, sheet {title!r}"]


def _rectangle(rows: _Rows) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the rows that are not blank, as long as it is, and their lines; UserError for a longer row."""
    filled = [(line, row) for line, row in rows if any(cell.strip() for cell in row)]
    if not filled:
        raise UserError("it is empty")
    first_line, header = filled[0]
    width = len(header)
    for line, row in filled[1:]:
        if any(cell.strip() for cell in row[width:]):
            raise UserError(
                f"line {line} has {len(row)} fields, but line {first_line} names {width} columns; a name or number "
                "that holds the separator must be in quotation marks"
            )
    even = [row[:width] + [""] * (width - len(row)) for _, row in filled[1:]]
    return header, even, [line for line, _ in filled[1:]]


def _spelling(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def _columns(header: list[str], names: Sequence[str]) -> dict[str, int]:
    """Column name, as the caller writes it -> position; UserError where two columns have one name."""
    spellings = {_spelling(name): name for name in names}
    columns: dict[str, int] = {}
    for position, given in enumerate(header):
        name = spellings.get(_spelling(given), given.strip())
        if name in columns and name in spellings.values():
            raise UserError(f"its columns {visible(header[columns[name]])} and {visible(given)} have the same meaning")
        if name:  # row numbers have none
            columns.setdefault(name, position)
    return columns


def _with_points(texts: list[str], lines: list[int], where: str) -> list[str]:
    """Numbers with a point for each decimal comma; UserError where a comma can also separate thousands."""
    commas = [row for row, text in enumerate(texts) if "," in text]
    # Where each number has a comma, three digits behind it are decimals, not thousands.
    thousands = len(commas) < len(texts) and all(_THOUSANDS.fullmatch(texts[row]) for row in commas)
    if thousands or any("." in text for text in texts):
        raise UserError(
            f"{where} cannot be read: line {lines[commas[0]]}: the comma in {visible(texts[commas[0]])} can be a "
            "decimal one or separate thousands, as other numbers have points or no comma; write all numbers with a "
            "decimal point"
        )
    return [text.replace(",", ".") for text in texts]


def _plain_name(given: str, folder: Path) -> str:
    """An image's path without blanks at its ends and with slashes, unless a file is called otherwise.

    The file is looked for from the current folder and from ``folder``. macOS writes an accent as a character of its
    own: the Unicode form is that of the file.
    """
    stripped = given.strip()
    forms = [unicodedata.normalize(form, stripped) for form in ("NFC", "NFD")] if not given.isascii() else []
    if given == stripped and "\\" not in given and all(form == given for form in forms):
        return given
    windows = "\\" in stripped and ("/" not in stripped or _WINDOWS_ROOT.match(stripped))
    plain = stripped.replace("\\", "/") if windows else stripped
    spellings = (given, stripped, plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD")))
    files = (one for one in spellings if os.path.lexists(one) or os.path.lexists(folder / one))
    return next(files, plain)


def write_csv(
    csv_path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Sequence[object]], encoding: str = "utf-8"
) -> None:
    """Writes a table completely or not at all; ``read_csv`` gives names in any encoding back unchanged.

    Lines end with a line feed alone, on Windows too.
    """
    with (
        whole_file(csv_path) as temporary,
        open(temporary, "w", newline="", encoding=encoding, errors="surrogateescape") as file,
    ):
        # The writer quotes a name that holds a carriage return only if its own lines end with one.
        writer = csv.writer(SimpleNamespace(write=lambda line: file.write(line.removesuffix("\r\n") + "\n")))
        writer.writerow(columns)
        writer.writerows(rows)


def write_workbook(path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    """Writes an Excel workbook of one sheet, completely or not at all.

    Texts are no formulas, whatever they begin with; characters that a workbook cannot hold become escapes.
    """
    import openpyxl  # here, as in ``_read_workbook``

    book = openpyxl.Workbook()
    for row in (columns, *rows):
        book.active.append([log.printable(cell) if isinstance(cell, str) else cell for cell in row])
    for cell in (cell for row in book.active for cell in row if cell.data_type == "f"):
        cell.data_type = "s"
    with whole_file(path) as temporary:
        book.save(temporary)
