"""What every script here reports: rows of one table, so that ``python -m benchmarks`` can put them together."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """One measurement: what, ours with its unit, what it is compared with, their ratio, and what was aimed at."""

    what: str
    ours: str
    compared: str = ""
    ratio: str = ""
    aim: str = ""


WIDTHS = (56, 18, 40, 7, 16)
HEAD = Row("", "ours", "compared with", "ratio", "aim")


def print_row(row: Row) -> None:
    print("".join(f"{text:<{width}s}" for text, width in zip(row, WIDTHS, strict=True)).rstrip(), flush=True)


def print_table(rows: Iterable[Row]) -> None:
    """Prints each row as soon as it is there."""
    print_row(HEAD)
    for row in rows:
        print_row(row)


def markdown(rows: Iterable[Row]) -> str:
    """The table for a README."""
    lines = [HEAD, Row(*["---"] * len(HEAD)), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def main() -> None:
    """``python -m benchmarks.table SCRIPT``: each row as a line of JSON, for ``python -m benchmarks``."""
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what is measured may print its own progress
        for row in importlib.import_module(f"benchmarks.{sys.argv[1]}").rows():
            print(json.dumps(row), file=output, flush=True)


if __name__ == "__main__":
    main()
