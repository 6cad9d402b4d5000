"""Options of ``python -m learning.regression.across``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from learning.regression.fit.settings import N_SPLITS
from options.argument_types import Parser, number


@dataclass(frozen=True)
class AcrossOptions:
    """The command line; every field has the meaning of the option with its name."""

    set: list[list[str]]
    estimator: str
    n_splits: int
    seed: int
    output: Path | None
    num_threads: int | None


def parse_across_options(arguments: Sequence[str] | None = None) -> AcrossOptions:
    """Parses the options; a mistake ends the program with a sentence and status 2."""
    parser = Parser(
        prog="python -m learning.regression.across", description="Trains on each database and tests on every other."
    )
    parser.add_argument(
        "--set", nargs=3, action="append", required=True, metavar=("NAME", "FEATURES", "SCORES.csv"),
        help="a database: its name, its features (folder or .npz) and its scores; once for each database",
    )  # fmt: skip
    parser.add_argument("--estimator", choices=("ridge", "elasticnet", "both"), default="both", help="regressors")
    parser.add_argument(
        "--n_splits",
        type=number(int, 1),
        default=N_SPLITS,
        help="number of random splits, where a table has no column split",
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, help="random seed for the splits")
    parser.add_argument("--output", type=Path, metavar="MATRIX.csv", help="write the matrix there")
    parser.add_argument("-j", "--num_threads", type=number(int, 1), help="threads (default: all cores)")
    options = AcrossOptions(**vars(parser.parse_args(arguments)))
    names = [name for name, *_ in options.set]
    if len(set(names)) < len(names) or not all(names):
        parser.error("give each --set a name of its own")
    if len(options.set) < 2:
        parser.error("give --set for at least two databases")
    if options.output is not None and options.output.suffix.lower() != ".csv":
        parser.error(f"--output {options.output}: the name must end in .csv")
    return options
