"""Tables from disk."""

import csv
import os
from collections.abc import Iterable, Sequence

import pandas as pd

from common.atomic_files import whole_file
from common.errors import UserError

CSV_ENCODING = {"encoding": "utf-8-sig", "encoding_errors": "surrogateescape"}
"""With or without a byte-order mark; file names that are not UTF-8 stay what they are."""

FIRST_ROW_LINE = 2


def read_csv(csv_path: str | os.PathLike, required: tuple[str, ...], what: str) -> pd.DataFrame:
    """A CSV as a table of strings, indexed by line number, without its blank lines.

    ``required`` names columns of which one must be there; ``what`` says what the CSV is, for messages. Raises
    UserError for a file that is missing or no CSV, that has none of the columns or no rows.
    """
    try:
        # dtype object, since pandas' own string type cannot hold names that are not valid Unicode.
        table = pd.read_csv(csv_path, dtype=object, keep_default_na=False, skip_blank_lines=False, **CSV_ENCODING)
    except FileNotFoundError:
        raise UserError(f"{what} {os.fspath(csv_path)} does not exist") from None
    except (OSError, ValueError, UnicodeError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{what} {os.fspath(csv_path)} cannot be read: {error}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes what is too much for an index
        raise UserError(f"{what} {os.fspath(csv_path)}: its lines have more fields than its first line names")
    if not set(required) & set(table):
        wanted = " or ".join(f"'{name}'" for name in required)
        columns = ", ".join(map(str, table)) or "none"
        raise UserError(f"{what} {os.fspath(csv_path)} has no column {wanted}; its columns are: {columns}")
    table.index += FIRST_ROW_LINE
    table = table[(table.notna() & (table != "")).any(axis=1)]
    if table.empty:
        raise UserError(f"{what} {os.fspath(csv_path)} lists no images")
    return table


def write_csv(csv_path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a table, whole or not at all; names in any encoding come back as they were from ``read_csv``."""
    with (
        whole_file(csv_path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
