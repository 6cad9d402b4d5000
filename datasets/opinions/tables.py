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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import log
from common.atomic_files import whole_file
from common.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# Captions and prompts beside the scores can be longer than the 128 KiB that Python allows a field.
csv.field_size_limit(1 << 30)

ENCODING, ENCODING_ERRORS = "utf-8-sig", "surrogateescape"
"""A byte-order mark may be there or not; file names that are not valid UTF-8 keep their bytes."""

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
"""Endings of files that hold a table; ``read_csv`` itself tells CSV and workbooks apart by their content."""

AS_WRITTEN = "as written: "
"""Begins the names of the columns of paths that ``read_csv`` has not changed."""

SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon"}

_ALIASES = {"image_name": "image"}
"""Other names of a column, which count where the table has none of the required ones."""

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_WINDOWS_ROOT = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class _TableError(ValueError):
    """A sentence on a table that cannot be read; it does not name the file."""


@dataclass(frozen=True)
class _Texts:
    """The texts of a table: ``rows`` are as long as ``header``; ``lines`` are their line numbers in the file, from 1.

    ``form`` describes the format where it is not plain CSV.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    separator: str
    form: list[str]


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

    ``required`` names columns of image paths of which at least one must be there; ``optional`` and ``numbers`` name
    the other columns that the caller reads. Their case, and blanks around and in them, do not matter. Between
    semicolons, decimal commas in ``numbers`` become points. ``what`` names the kind of table in messages, ``sheet`` a
    workbook's sheet. One line reports how the file was read, unless it is plain CSV. With ``as_written`` each column of
    paths is there twice: the column ``AS_WRITTEN`` + name has the cells without any change.

    Raises UserError for a missing file, a file that is no table or can be read in two ways, a table without any of
    the required columns, and a table without rows.
    """
    where = f"{what} {os.fspath(csv_path)}"
    try:
        content = Path(csv_path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{where} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise UserError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    spellings = {_spelling(name): name for name in (*required, *optional, *numbers)}
    needed = {_spelling(name) for name in required}
    needed |= {alias for alias, name in _ALIASES.items() if name in required}

    def is_header(row: Iterable[str]) -> bool:
        return any(_spelling(name) in needed for name in row)

    try:
        workbook = content.startswith(b"PK\x03\x04")
        texts = _read_workbook(content, is_header, sheet) if workbook else _read_text(content, is_header)
        columns = _columns(texts.header, spellings, required)
        if not set(required) & set(columns):
            expected = " or ".join(f"'{name}'" for name in required)
            remedy = "; columns are separated by commas, tabs or semicolons" if len(texts.header) == 1 else ""
            raise UserError(f"{where} has no column {expected}; its columns are: {listed(texts.header)}{remedy}")
        if not texts.rows:
            raise UserError(f"{where} lists no images")
        cells = {name: [row[position] for row in texts.rows] for name, position in columns.items()}
        changes = []
        for name in [name for name in numbers if name in cells]:
            cells[name] = [text.strip() for text in cells[name]]
            if texts.separator == ";" and any("," in text for text in cells[name]):
                cells[name] = _with_points(cells[name], texts.lines)
                changes.append(f"decimal commas in '{name}'")
    except _TableError as error:
        raise UserError(f"{where} cannot be read: {error}") from None
    for name in [name for name in required if name in cells]:
        given = cells[name]
        cells[name] = [_plain_name(image, Path(csv_path).parent) for image in given]
        changed = [(old, new) for old, new in zip(given, cells[name], strict=True) if new != old]
        if changed:
            old, new = changed[0]
            changes.append(f"{len(changed):,d} names changed ({visible(old)} to {visible(new)})")
        if as_written:
            cells[AS_WRITTEN + name] = given
    if texts.form or changes:
        read_as = f" as {', '.join(texts.form)}" * bool(texts.form) + f" with {', '.join(changes)}" * bool(changes)
        log.info(f"{Path(csv_path).name}: read{read_as}")
    return frame(cells, texts.lines)


def frame(columns: Mapping[str, Sequence[Any]], lines: list[int] | None = None) -> pd.DataFrame:
    """A table of texts with these columns, (n,) each, indexed by line."""
    import pandas as pd  # half a second, for which a script that reads no table should not wait

    # dtype object: pandas' own string type cannot hold names that are not valid Unicode.
    table = pd.DataFrame({name: pd.Series(list(values), dtype=object) for name, values in columns.items()})
    return table if lines is None else table.set_axis(pd.Index(lines), axis=0)


def visible(text: str) -> str:
    """A text in quotation marks, with escapes for whatever cannot be seen: blanks at its ends, accents as marks."""
    text = "".join(
        _escaped(character) if character != " " and unicodedata.category(character)[0] in "CMZ" else character
        for character in text
    )
    return "'" + re.sub(r"^ +| +$", lambda blanks: r"\x20" * len(blanks.group()), text) + "'"


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 126 else repr(character)[1:-1]


def shown(name: str) -> str:
    """A name for a message: as it is where all of it can be seen, else as ``visible`` shows it."""
    return name if visible(name) == f"'{name}'" else visible(name)


def listed(header: Iterable[object]) -> str:
    """The names of columns for a message, the first ten of them."""
    names = [shown(name[:40]) for name in map(str, header) if name.strip()]
    return ", ".join([*names[:10], *(["..."] if len(names) > 10 else [])]) or "none"


def _read_text(content: bytes, is_header: Callable[[list[str]], bool]) -> _Texts:
    form = []
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        form.append("UTF-16")
        try:
            text = content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise _TableError(f"it is UTF-16, and damaged at byte {error.start}") from None
    else:
        text = content.decode(ENCODING, ENCODING_ERRORS)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n")
        start = visible(text.split("\n")[line][:40])
        raise _TableError(f"line {line + 1} {start} holds NUL; save the table as CSV in UTF-8, or as .xlsx")
    separator = _separator(text, is_header)
    if separator != ",":
        form.append(f"{SEPARATORS[separator]}-separated")
    # A blank before a quotation mark belongs to neither name nor number.
    blanks = f'{separator} "' in text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=blanks, strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        # Only at its end does the reader notice a quotation mark that is never closed.
        reason = "a quotation mark is not closed" if "unexpected end" in str(error) else str(error)
        raise _TableError(f"line {line}: {reason}") from None
    return _rectangle(rows, separator, form)


def _separator(text: str, is_header: Callable[[list[str]], bool]) -> str:
    """The separator with which the first line names a column that is needed; a comma where none does."""
    header = next((line for line in io.StringIO(text, newline="") if line.strip(',\t; "\r\n')), "")
    splits = {one: next(csv.reader([header], delimiter=one, skipinitialspace=True), []) for one in SEPARATORS}
    fitting = [one for one, fields in splits.items() if is_header(fields)]
    if len({tuple(splits[one]) for one in fitting}) > 1:
        names = " or ".join(f"{SEPARATORS[one]}s" for one in fitting)
        raise _TableError(f"its first line can be separated by {names}; keep one of them")
    return fitting[0] if fitting else ","


def _read_workbook(content: bytes, is_header: Callable[[list[str]], bool], sheet: str | None) -> _Texts:
    """The table on ``sheet``, or on the only sheet whose first row names a column that is needed."""
    import openpyxl  # here, since few runs need it and it takes a while to load

    tables: dict[str, list[tuple[int, list[str]]]] = {}
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
        raise _TableError(f"it is not an Excel workbook (.xlsx), or is damaged: {reason}") from None
    if sheet is not None and sheet not in tables:
        raise _TableError(f"it has no sheet {sheet!r}; its sheets are: {', '.join(tables)}")
    found = [sheet] if sheet is not None else [title for title, rows in tables.items() if is_header(rows[0][1])]
    if len(found) > 1:
        raise _TableError(f"its sheets {' and '.join(map(repr, found))} both hold such a table; keep one of them")
    title = next(iter([*found, *tables]), "")
    return _rectangle(tables.get(title, []), ",", [f"an Excel workbook, sheet {title!r}"])


def _rectangle(rows: Iterable[tuple[int, list[str]]], separator: str, form: list[str]) -> _Texts:
    """Rows of equal length without the blank ones; _TableError where a row has more fields than there are columns."""
    filled = [(line, row) for line, row in rows if any(cell.strip() for cell in row)]
    if not filled:
        raise _TableError("it is empty")
    first_line, header = filled[0]
    width = len(header)
    for line, row in filled[1:]:
        if any(cell.strip() for cell in row[width:]):
            raise _TableError(
                f"line {line} has {len(row)} fields, but line {first_line} names {width} columns; a name or number "
                "that holds the separator must be in quotation marks"
            )
    even = [row[:width] + [""] * (width - len(row)) for _, row in filled[1:]]
    return _Texts(header, even, [line for line, _ in filled[1:]], separator, form)


def _spelling(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def _columns(header: list[str], spellings: Mapping[str, str], required: Sequence[str]) -> dict[str, int]:
    """Column name, as the caller writes it -> position; _TableError where two columns have one name."""
    if not set(map(_spelling, header)) & set(map(_spelling, required)):
        spellings = {**spellings, **{alias: name for alias, name in _ALIASES.items() if name in required}}
    columns: dict[str, int] = {}
    for position, given in enumerate(header):
        name = spellings.get(_spelling(given), given.strip())
        if name in columns and name in spellings.values():
            raise _TableError(
                f"its columns {visible(header[columns[name]])} and {visible(given)} have the same meaning"
            )
        if name:  # row numbers have none
            columns.setdefault(name, position)
    return columns


def _with_points(texts: list[str], lines: list[int]) -> list[str]:
    """Numbers with a point for each decimal comma; _TableError where a comma can also separate thousands."""
    commas = [row for row, text in enumerate(texts) if "," in text]
    first = f"line {lines[commas[0]]}: {visible(texts[commas[0]])}"
    pointed = next((row for row, text in enumerate(texts) if "." in text), None)
    if pointed is not None:
        raise _TableError(
            f"{first} has a comma and line {lines[pointed]}: {visible(texts[pointed])} a point; write all numbers "
            "with a decimal point"
        )
    # Where each number has a comma, three digits behind it are decimals, not thousands.
    if len(commas) < len(texts) and all(_THOUSANDS.fullmatch(texts[row]) for row in commas):
        text = texts[commas[0]]
        raise _TableError(
            f"{first} can be {text.replace(',', '.')} or {text.replace(',', '')}; write numbers with a decimal point "
            "and without separators of thousands"
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


def write_csv(csv_path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a table completely or not at all; ``read_csv`` gives names in any encoding back unchanged."""
    with (
        whole_file(csv_path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors=ENCODING_ERRORS) as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
