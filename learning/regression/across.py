"""Across databases: ``python -m learning.regression.across --set NAME FEATURES SCORES --set ...``

Prints the matrix train x test of SRCC and PLCC fit (``learning.regression.evaluate.cross_database``); ``--output``
writes it as a CSV.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.machine import n_cores
from common.names import N_SPLITS
from common.process import run_script
from common.tables import TABLE_FORMS
from networks.errors import UserError
from options.builder import REQUIRED, Computed, option, parse


@dataclass(frozen=True)
class AcrossOptions:
    """Trains on each database and tests on every other."""

    set: tuple[list[str], ...] = option(
        REQUIRED, "a database: a name, its features (folder or .npz) and its scores: a table, or reader:ROOT, such as "
        "clive:/data/CLIVE (datasets.opinions lists the readers); once for each database", nargs=3,
        action="append", type=str, metavar=("NAME", "FEATURES", "SCORES"),
    )  # fmt: skip
    estimator: str = option("both", "regressors", choices=("ridge", "elasticnet", "both"))
    n_splits: int = option(N_SPLITS, "number of random splits, where a table has no column split", at_least=1)
    seed: int = option(0, "random seed for the splits", at_least=0)
    output: Path | None = option(None, "write the matrix there", metavar="MATRIX.csv")
    table: str = option(TABLE_FORMS[0], "form of the tables; latex, markdown: for a paper", choices=TABLE_FORMS)
    num_threads: int = option(Computed("all cores", lambda given: n_cores()), "threads", short="-j", at_least=1)

    def __post_init__(self) -> None:
        names = [name for name, *_ in self.set]
        if len(set(names)) < len(names) or not all(names):
            raise UserError("give each --set a name of its own")
        if len(self.set) < 2:
            raise UserError("give --set for at least two databases")
        if self.output is not None and self.output.suffix.lower() != ".csv":
            raise UserError(f"--output {self.output}: the name must end in .csv")


parse_across_options = partial(parse, AcrossOptions, "python -m learning.regression.across")


def main() -> None:
    options = parse_across_options()
    # Imported below the options: --help needs no scikit-learn.
    from learning.regression.evaluate.cross_database import train_and_test_across

    train_and_test_across(options)


if __name__ == "__main__":
    run_script(main)
