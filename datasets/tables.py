"""Tables of text on disk: reading and writing CSV files."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from common.atomic_files import whole_file
from common.errors import UserError

ENCODING, ENCODING_ERRORS = "utf-8-sig", "surrogateescape"
"""A byte-order mark may be there or not; file names that are not valid UTF-8 keep their bytes."""

FIRST_ROW_LINE = 2


def read_csv(csv_path: str | os.PathLike, required: tuple[str, ...], what: str) -> pd.DataFrame:
    """A CSV as a table of strings, indexed by line number, without its blank lines.

    ``required`` names columns of which at least one must be there; ``what`` names the kind of CSV in messages. Raises
    UserError for a missing file, a file that is no CSV, a table without any of the columns, and a table without rows.
    """
    try:
        # dtype object: pandas' own string type cannot hold names that are not valid Unicode.
        table = pd.read_csv(
            Path(csv_path),
            dtype=object,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding=ENCODING,
            encoding_errors=ENCODING_ERRORS,
        )
    except FileNotFoundError:
        raise UserError(f"{what} {os.fspath(csv_path)} does not exist") from None
    except (OSError, ValueError, UnicodeError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{what} {os.fspath(csv_path)} cannot be read: {error}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas makes an index of surplus fields
        raise UserError(f"{what} {os.fspath(csv_path)}: its lines have more fields than its first line names")
    if not set(required) & set(table):
        expected = " or ".join(f"'{name}'" for name in required)
        columns = ", ".join(map(str, table)) or "none"
        raise UserError(f"{what} {os.fspath(csv_path)} has no column {expected}; its columns are: {columns}")
    table.index += FIRST_ROW_LINE
    table = table[(table.notna() & (table != "")).any(axis=1)]
    if table.empty:
        raise UserError(f"{what} {os.fspath(csv_path)} lists no images")
    return table


def write_csv(csv_path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a table completely or not at all; ``read_csv`` gives names in any encoding back unchanged."""
    with (
        whole_file(csv_path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
