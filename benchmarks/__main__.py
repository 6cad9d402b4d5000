"""``python -m benchmarks``: what a CPU can measure in ten minutes, in one table (``--markdown``: as for a README).

Each script runs in a process of its own, since some confine theirs to one core. Use a machine that does nothing else.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import torch

from benchmarks.table import Row, markdown, print_table

SCRIPTS = ("data_pipeline", "step", "extraction", "regressor_search", "cold_start")


def all_rows() -> Iterator[Row]:
    """Each row as its script has it; ends with a sentence if a script fails."""
    for script in SCRIPTS:
        command = [sys.executable, "-m", "benchmarks.table", script]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None, "it is a pipe"
            for line in process.stdout:
                yield Row(*json.loads(line))
        if process.returncode:
            sys.exit(f"python -m benchmarks.{script} failed with status {process.returncode}")


def processor() -> str:
    """The processor's name, where the system tells."""
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
    if options.markdown:
        print(markdown(all_rows()))
    else:
        print_table(all_rows())


if __name__ == "__main__":
    main()
