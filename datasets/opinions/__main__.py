"""``python -m datasets.opinions clive ROOT scores.csv``: writes the opinion scores of a database as a table."""

import argparse
from pathlib import Path

from common import log
from common.atomic_files import check_not_read, check_target
from common.process import run_script
from datasets.opinions.databases import DATABASES, read_database
from datasets.opinions.tables import write_csv


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.opinions", description="Writes the opinion scores of a database as a table."
    )
    parser.add_argument("database", choices=DATABASES, help="name of the database")
    parser.add_argument("root", type=Path, help="folder where it was unpacked")
    parser.add_argument("table", type=Path, help="table to write (.csv); higher is better in it")
    options = parser.parse_args()

    check_target(options.table)
    check_not_read("table", options.table, options.root.rglob("*"))
    scores = read_database(options.database, options.root)
    table, columns = scores.table, scores.table.columns.tolist()
    write_csv(options.table, columns, table.astype(object).where(table.notna(), "").to_numpy())
    if scores.inversion:
        log.info(scores.inversion)
    log.info(f"{options.table}: {len(table):,d} images with {', '.join(columns)}")


if __name__ == "__main__":
    run_script(main)
