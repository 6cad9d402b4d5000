"""The forms in which programs write tables: encodings, separators, workbooks.

``parse_table`` reads what can be read in one way only. Whatever differs from plain CSV (UTF-8, commas, header on the
first line) is noted, so that a person can check it; what can be read in two ways is refused.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# Captions and prompts beside the scores can be longer than the 128 KiB that Python allows a field.
csv.field_size_limit(1 << 30)

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

_BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)

_OTHER_FORMATS = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel file (.xls)"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF"),
    (b"{\\rtf", "a text document (.rtf)"),
    (b"<html", "a web page"),
    (b"<!doctype html", "a web page"),
    (b"<table", "a web page"),
    (b"<?xml", "an XML document"),
    (b'{"', "JSON"),
    (b"[{", "JSON"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)


class TableError(ValueError):
    """A sentence on a table that cannot be read; it does not name the file."""


@dataclass(frozen=True)
class RawTable:
    """The texts of a table and how they were read.

    ``rows`` are as long as ``header``; ``lines`` are their line numbers in the file, from 1. ``form`` describes the
    format where it is not plain CSV, ``details`` what was left out.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    separator: str
    form: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)


def parse_table(content: bytes, is_header: Callable[[list[str]], bool], sheet: str | None = None) -> RawTable:
    """A table from the bytes of a file; ``is_header`` tells whether a row names the columns that are needed.

    ``sheet`` names a workbook's sheet; without it, the only sheet with such a header is read. Raises TableError.
    """
    if content.startswith(b"PK\x03\x04"):
        return _parse_workbook(content, is_header, sheet)
    beginning = content[:64].lstrip().lower()
    for magic, name in _OTHER_FORMATS:
        if beginning.startswith(magic.lower()):
            raise TableError(f"it is {name}; save the table as CSV or .xlsx")
    form = []
    if content.startswith(b"\x1f\x8b"):
        form.append("gzip-compressed")
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise TableError(f"its compression is damaged: {error}") from None
    text, encoding = _decode(content)
    if encoding != "UTF-8":
        form.append(encoding)
    return _parse_text(text, is_header, form)


def _decode(content: bytes) -> tuple[str, str]:
    """The text and the name of its encoding; bytes that are not UTF-8, as in some file names, become surrogates."""
    for mark, codec, name in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _decode_exactly(content[len(mark) :], codec, name), name
    # A header begins with a letter of ASCII as a rule, and most of it is: every second byte of UTF-16 is zero.
    for codec, letters, zeros in (("utf-16-le", 0, 1), ("utf-16-be", 1, 0)):
        head = content[zeros:256:2]
        if head[:1] == b"\0" and content[letters : letters + 1] not in (b"", b"\0") and head.count(0) > len(head) // 2:
            return _decode_exactly(content, codec, "UTF-16"), "UTF-16 without a byte-order mark"
    try:
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        return content.decode("utf-8-sig", "surrogateescape"), "text that is not UTF-8"


def _decode_exactly(content: bytes, codec: str, name: str) -> str:
    try:
        return content.decode(codec)
    except UnicodeDecodeError as error:
        raise TableError(f"it is {name}, and damaged at byte {error.start}") from None


def _parse_text(text: str, is_header: Callable[[list[str]], bool], form: list[str]) -> RawTable:
    body, first_line, declared, details = _from_header(text, is_header)
    if not body:
        raise TableError("it is empty")
    separator = declared or _guess_separator(io.StringIO(body, newline="").readline(), is_header)
    if separator != ",":
        form = [*form, f"{SEPARATORS.get(separator, repr(separator))}-separated"]
    reader = csv.reader(
        io.StringIO(body, newline=""),
        delimiter=separator,
        # A blank before a quotation mark belongs to neither name nor number.
        skipinitialspace=f'{separator} "' in body,
        strict=True,
    )
    rows: list[list[str]] = []
    lines: list[int] = []
    line = first_line
    try:
        for row in reader:
            rows.append(row)
            lines.append(line)
            line = first_line + reader.line_num
    except csv.Error as error:
        # Only at its end does the reader notice a quotation mark that is never closed.
        reason = "a quotation mark is not closed" if "unexpected end" in str(error) else str(error)
        raise TableError(f"line {line}: {reason}") from None
    return _rectangle(rows, lines, separator, form, details)


def _from_header(text: str, is_header: Callable[[list[str]], bool]) -> tuple[str, int, str, list[str]]:
    """The text from its header on, the header's line, the separator of a "sep=" line, and notes on skipped lines."""
    start, line, declared, comments = 0, 1, "", 0
    notes = []
    for line, content in enumerate(io.StringIO(text, newline=""), start=1):
        bare = content.rstrip("\r\n").strip('"')
        if line == 1 and bare[:-1].lower() == "sep=" and bare[-1] in SEPARATORS:
            declared = bare[-1]
            notes.append("its sep= line")
        elif content.startswith("#") and not any(is_header(_fields(content, separator)) for separator in SEPARATORS):
            comments += 1
        elif content.strip("".join(SEPARATORS) + ' "\r\n'):
            break
        start += len(content)
    if comments:
        notes.append(f"{comments} comment line{'s' if comments > 1 else ''} left out")
    return text[start:], line, declared, notes


def _fields(line: str, separator: str) -> list[str]:
    """The fields of one line; broken quotation marks are no error here."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # a field of more than 128 KiB: no table
        return [line[:40]]


def _guess_separator(header_line: str, is_header: Callable[[list[str]], bool]) -> str:
    splits = {separator: _fields(header_line, separator) for separator in SEPARATORS if separator in header_line}
    if not splits:
        return ","
    fitting = [separator for separator, fields in splits.items() if is_header(fields)]
    if not fitting:
        return max(splits, key=lambda separator: len(splits[separator]))
    if len({tuple(splits[separator]) for separator in fitting}) > 1:
        names = " or ".join(f"{SEPARATORS[separator]}s" for separator in fitting)
        raise TableError(f"its first line can be separated by {names}; keep one of them")
    return fitting[0]


def _rectangle(
    rows: list[list[str]], lines: list[int], separator: str, form: list[str], details: list[str]
) -> RawTable:
    """Rows of equal length without the blank ones; TableError where a row has more fields than there are columns."""
    header, width = rows[0], len(rows[0])
    kept, kept_lines, surplus = [], [], False
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if not any(cell.strip() for cell in row):
            continue
        if any(cell.strip() for cell in row[width:]):
            raise TableError(
                f"line {line} has {len(row)} fields, but line {lines[0]} names {width} columns; a name or number that "
                "holds the separator must be in quotation marks"
            )
        surplus |= len(row) > width
        kept.append(row[:width] + [""] * (width - len(row)))
        kept_lines.append(line)
    if surplus:
        details = [*details, f"{SEPARATORS.get(separator, 'separator')}s at the end of lines left out"]
    return RawTable(header, kept, kept_lines, separator, form, details)


def _parse_workbook(content: bytes, is_header: Callable[[list[str]], bool], sheet: str | None) -> RawTable:
    """The table on ``sheet``, or on the only sheet that has one; a title above the header is skipped."""
    import openpyxl  # here, since few runs need it and it takes a while to load

    tables: dict[str, tuple[list[list[str]], list[int]]] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on styles and extensions, which do not matter here
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            for worksheet in book.worksheets:
                rows, lines = [], []
                for number, values in enumerate(worksheet.iter_rows(values_only=True), start=1):
                    row = _row_texts(values)
                    if row:
                        rows.append(row)
                        lines.append(number)
                if rows:
                    tables[worksheet.title] = rows, lines
    except Exception as error:  # damaged files raise errors of many kinds in openpyxl
        reason = " ".join(str(error).split())
        raise TableError(f"it is not an Excel workbook (.xlsx), or is damaged: {reason}") from None
    if not tables:
        raise TableError("it is empty")
    if sheet is not None and sheet not in tables:
        raise TableError(f"it has no sheet {sheet!r}; its sheets are: {', '.join(tables)}")
    found = [
        title for title in ([sheet] if sheet is not None else tables) if any(map(is_header, tables[title][0][:10]))
    ]
    if len(found) > 1:
        raise TableError(f"its sheets {' and '.join(map(repr, found))} both hold such a table; keep one of them")
    title = found[0] if found else sheet if sheet is not None else next(iter(tables))
    rows, lines = tables[title]
    # Rows of a single text may stand above the header: a title, a date.
    above = next((number for number, row in enumerate(rows[:10]) if is_header(row)), 0)
    if any(sum(bool(cell.strip()) for cell in row) > 1 for row in rows[:above]):
        above = 0
    return _rectangle(rows[above:], lines[above:], ",", [f"an Excel workbook, sheet {title!r}"], [])


def _row_texts(values: Iterable[object]) -> list[str]:
    """The cells as a CSV would have them, up to the last that is not blank; a date never looks like a number."""
    row = ["" if value is None else str(value) for value in values]
    while row and not row[-1].strip():
        row.pop()
    return row
