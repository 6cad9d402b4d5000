"""Tables from disk."""

import os

import pandas as pd

from common.errors import UserError

CSV_ENCODING = {"encoding": "utf-8-sig", "encoding_errors": "surrogateescape"}
"""With or without a byte-order mark; file names that are not UTF-8 stay what they are."""


def read_csv(csv_path: str | os.PathLike, required: tuple[str, ...], what: str) -> pd.DataFrame:
    """A CSV as a table of strings. ``required`` names columns of which one must be there; ``what`` the CSV's role.

    Raises UserError, naming file and role, for a file that is missing or no CSV, that has none of the columns or no
    rows.
    """
    try:
        # dtype object, since pandas' own string type cannot hold names that are not valid Unicode.
        table = pd.read_csv(csv_path, dtype=object, keep_default_na=False, **CSV_ENCODING)
    except FileNotFoundError:
        raise UserError(f"{what} {os.fspath(csv_path)} does not exist") from None
    except (OSError, ValueError, UnicodeError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{what} {os.fspath(csv_path)} cannot be read: {error}") from None
    if not set(required) & set(table):
        wanted = " or ".join(f"'{name}'" for name in required)
        columns = ", ".join(map(str, table)) or "none"
        raise UserError(f"{what} {os.fspath(csv_path)} has no column {wanted}; its columns are: {columns}")
    if table.empty:
        raise UserError(f"{what} {os.fspath(csv_path)} lists no images")
    return table
