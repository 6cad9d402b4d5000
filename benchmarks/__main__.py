"""``python -m benchmarks``: what a CPU can measure in ten minutes, in one table (``--markdown``: as for a README).

Each script runs in a process of its own, since some confine theirs to one core. Use a machine that does nothing else.
"""

import argparse
import datetime
import multiprocessing
import os
import platform
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import torch

from benchmarks import data_pipeline, extraction, loader, regressor_search, step
from benchmarks.table import Row, markdown, print_table

SCRIPTS = (data_pipeline, loader, step, extraction, regressor_search)


def _rows_of(script: str) -> list[Row]:
    (module,) = (module for module in SCRIPTS if module.__name__ == script)
    return list(module.rows())


def all_rows() -> Iterator[Row]:
    context = multiprocessing.get_context("spawn")
    for script in SCRIPTS:
        with ProcessPoolExecutor(1, context) as process:
            yield from process.submit(_rows_of, script.__name__).result()


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="print the table for a README, at the end")
    options = parser.parse_args()
    print(f"{datetime.date.today()}, {os.cpu_count()} cores, {processor()}, torch {torch.__version__}")
    print(markdown(all_rows())) if options.markdown else print_table(all_rows())


if __name__ == "__main__":
    main()
