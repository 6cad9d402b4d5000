"""Tables on disk: one reader for training lists, image lists, scores and labels, and one writer."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common import log
from common.atomic_files import whole_file
from common.errors import UserError
from datasets.opinions.dialects import RawTable, TableError, parse_table

if TYPE_CHECKING:
    import pandas as pd

ENCODING, ENCODING_ERRORS = "utf-8-sig", "surrogateescape"
"""A byte-order mark may be there or not; file names that are not valid UTF-8 keep their bytes."""

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
"""Endings of files that hold a table; ``read_csv`` itself tells the formats apart by their content."""

_ALIASES = {"image_name": "image"}
"""Other names of a column, which count where the table has none of the required ones."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,?\d+([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_INVISIBLE = "\u200b\ufeff"
"""A blank without width, and the byte-order mark, which files that were joined have within them."""

_CODE_PAGES = ("cp1252", "gb18030", "cp932", "cp949", "big5", "cp1251")
"""Windows' encodings for western Europe, China, Japan, Korea, Taiwan and Russia. A spelling counts if a file has it."""

_WINDOWS_ROOT = re.compile(r"[A-Za-z]:[\\/]|\\\\")


AS_WRITTEN = "as written: "
"""Begins the names of the columns of paths that ``read_csv`` has not changed."""


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
    the other columns that the caller reads. Their case, and blanks around and in them, do not matter. Decimal commas
    in ``numbers`` become points. ``what`` names the kind of table in messages, ``sheet`` a workbook's sheet. One line
    reports how the file was read, unless it is plain CSV. With ``as_written`` each column of paths is there twice: the
    column ``AS_WRITTEN`` + name has the cells without any change.

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
    try:
        raw = parse_table(content, lambda fields: any(_spelling(name) in needed for name in fields), sheet)
        columns, details = _columns(raw.header, spellings, needed)
        if not set(required) & set(columns):
            expected = " or ".join(f"'{name}'" for name in required)
            raise UserError(f"{where} has no column {expected}; its columns are: {listed(raw.header)}")
        if not raw.rows:
            raise UserError(f"{where} lists no images")
        table = _frame(raw, columns)
        details = [*raw.details, *details]
        for name in [name for name in required if name in columns]:
            written = table[name]
            table[name], changes = _plain_names(written.tolist(), Path(csv_path).parent)
            if as_written:
                table[AS_WRITTEN + name] = written
            details += changes
        pointed = [_with_points(table, name, raw) for name in numbers if name in columns]
    except TableError as error:
        raise UserError(f"{where} cannot be read: {error}") from None
    if any(pointed):
        details.insert(0, "decimal commas")
    _report(Path(csv_path).name, raw.form, details)
    return table


def visible(text: str) -> str:
    """A text in quotation marks, with escapes for whatever cannot be seen: blanks at its ends, accents as marks."""
    text = "".join(
        _escaped(character) if character != " " and unicodedata.category(character)[0] in "CMZ" else character
        for character in text
    )
    return "'" + re.sub(r"^ +| +$", lambda blanks: r"\x20" * len(blanks.group()), text) + "'"


def shown(name: str) -> str:
    """A name for a message: as it is where all of it can be seen, else as ``visible`` shows it."""
    return name if visible(name) == f"'{name}'" else visible(name)


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 126 else repr(character)[1:-1]


def _spelling(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().strip(_INVISIBLE)).casefold()


def listed(header: Iterable[object]) -> str:
    """The names of columns for a message, the first ten of them."""
    names = [shown(name[:40]) for name in map(str, header) if name.strip()]
    return ", ".join([*names[:10], *(["..."] if len(names) > 10 else [])]) or "none"


def _columns(header: list[str], spellings: Mapping[str, str], needed: set[str]) -> tuple[dict[str, int], list[str]]:
    """Column name, as the caller writes it -> position, and notes; TableError where two columns have one name."""
    aliases = {} if {_spelling(name) for name in header} & (needed - set(_ALIASES)) else _ALIASES
    columns: dict[str, int] = {}
    notes = []
    for position, given in enumerate(header):
        spelling = _spelling(given)
        name = spellings.get(spelling) or spellings.get(aliases.get(spelling, ""), given.strip())
        if name in columns and name in spellings.values():
            raise TableError(f"its columns {visible(header[columns[name]])} and {visible(given)} have the same meaning")
        if name in columns or not name:
            continue  # a second column that nobody asks for, or one without a name: row numbers, as a rule
        columns[name] = position
        if name != given and name in spellings.values():
            notes.append(f"column {visible(given)} as '{name}'")
    return columns, notes


def _frame(raw: RawTable, columns: Mapping[str, int]) -> pd.DataFrame:
    # dtype object: pandas' own string type cannot hold names that are not valid Unicode.
    import pandas as pd  # half a second, for which a script that reads no table should not wait

    texts = {name: pd.Series([row[at] for row in raw.rows], dtype=object) for name, at in columns.items()}
    return pd.DataFrame(texts).set_axis(pd.Index(raw.lines), axis=0)


def _plain_names(names: list[str], folder: Path) -> tuple[list[str], list[str]]:
    """Image paths without blanks at their ends, with slashes, and in the Unicode form of the file; notes on changes."""
    files = _Files(folder)
    plain = [name if _is_plain(name) else _plain_name(name, files) for name in names]
    changed = [(name, new) for name, new in zip(names, plain, strict=True) if new != name]
    blanks = sum(name != name.strip() and new == new.strip() for name, new in changed)
    slashes = sum("\\" in name and "\\" not in new for name, new in changed)
    marks = sum(name.strip(_INVISIBLE) != name and new.strip(_INVISIBLE) == new for name, new in changed)
    forms = sum(new not in (_bare(name), _bare(name).replace("\\", "/")) for name, new in changed)
    notes = []
    if blanks:
        notes.append(f"blanks around {_count(blanks)} removed")
    if marks:
        notes.append(f"invisible marks around {_count(marks)} removed")
    if slashes:
        notes.append(f"backslashes in {_count(slashes)} as slashes")
    if forms:
        notes.append(f"{_count(forms)} in the encoding of the files")
    return plain, notes


def _count(n: int) -> str:
    return f"{n:,d} name{'s' if n > 1 else ''}"


def _bare(name: str) -> str:
    """The name without the blanks and the invisible marks around it."""
    return name.strip().strip(_INVISIBLE).strip()


def _is_plain(name: str) -> bool:
    return "\\" not in name and name == _bare(name) and (name.isascii() or _has_one_form(name))


def _has_one_form(name: str) -> bool:
    """Whether no encoding or Unicode form can spell a name otherwise."""
    return _is_unicode(name) and unicodedata.is_normalized("NFC", name) and unicodedata.is_normalized("NFD", name)


def _plain_name(name: str, files: _Files) -> str:
    """The spelling of ``name`` that a file has, or else the plainest."""
    stripped = _bare(name)
    windows = "\\" in stripped and ("/" not in stripped or _WINDOWS_ROOT.match(stripped))
    slashed = stripped.replace("\\", "/") if windows else stripped
    spellings = [name, stripped, slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))]
    if not _is_unicode(slashed):  # bytes of a Windows program, perhaps, in the code page of its country
        with contextlib.suppress(UnicodeError):
            # Unslashed too: half of a Japanese or Chinese character can look like a backslash.
            encoded = [os.fsencode(text) for text in (slashed, stripped)]
            spellings += [text.decode(page, "replace") for page in _CODE_PAGES for text in encoded]
    return next((spelling for spelling in dict.fromkeys(spellings) if files.hold(spelling)), slashed)


def _is_unicode(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


@dataclass(frozen=True)
class _Files:
    """The files below the current folder and below ``folder``; each folder is listed once, as disks may be far away."""

    folder: Path
    _listings: dict[str, frozenset[str]] = field(default_factory=dict)

    def hold(self, name: str) -> bool:
        paths = (os.path.split(name), os.path.split(os.path.join(self.folder, name)))
        return any(base in self._listing(parent) for parent, base in paths)

    def _listing(self, parent: str) -> frozenset[str]:
        if parent not in self._listings:
            try:
                self._listings[parent] = frozenset(os.listdir(parent or "."))
            except (OSError, ValueError):  # ValueError: a NUL byte, or a surrogate that is no byte of a name
                self._listings[parent] = frozenset()
        return self._listings[parent]


def _with_points(table: pd.DataFrame, name: str, raw: RawTable) -> bool:
    """Puts a point for each decimal comma of a column; TableError where a comma can also separate thousands.

    Returns whether there were any.
    """
    texts = [text.strip() for text in table[name]]
    decimal = [row for row, text in enumerate(texts) if "," in text and _DECIMAL_COMMA.fullmatch(text)]
    thousands = [row for row, text in enumerate(texts) if "," in text and _THOUSANDS.fullmatch(text)]
    if not decimal:
        table[name] = texts
        return False
    first = f"line {raw.lines[decimal[0]]}: {visible(texts[decimal[0]])}"
    pointed = next((row for row, text in enumerate(texts) if "." in text), None)
    if pointed is not None:
        raise TableError(
            f"{first} has a comma and line {raw.lines[pointed]}: {visible(texts[pointed])} a point; write all numbers "
            "with a decimal point"
        )
    # A program that separates by semicolons does so because its decimal sign is the comma. Where each number of such
    # a table has a comma, three digits behind it are decimals, not thousands.
    settled = raw.separator == ";" and len(decimal) == len(texts)
    if set(decimal) <= set(thousands) and not settled:
        text = texts[decimal[0]]
        raise TableError(
            f"{first} can be {text.replace(',', '.')} or {text.replace(',', '')}; write numbers with a decimal point "
            "and without separators of thousands"
        )
    for row in decimal:
        texts[row] = texts[row].replace(",", ".")
    table[name] = texts
    return True


def _report(file_name: str, form: list[str], details: list[str]) -> None:
    """One line on how a table was read that is not plain CSV."""
    if form or details:
        read_as = f" as {', '.join(form)}" if form else ""
        log.info(f"{file_name}: read{read_as}" + (f" with {', '.join(details)}" if details else ""))


def write_csv(csv_path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a table completely or not at all; ``read_csv`` gives names in any encoding back unchanged."""
    with (
        whole_file(csv_path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
