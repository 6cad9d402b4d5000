"""Options of ``python -m learning.regression.compare``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from learning.regression.fit.settings import LOGISTICS, N_RESAMPLES
from options.argument_types import Parser, number


@dataclass(frozen=True)
class CompareOptions:
    """The command line; every field has the meaning of the option with its name."""

    regressors: list[Path]
    alpha: float
    n_bootstrap: int
    seed: int
    logistic: int


def parse_compare_options(arguments: Sequence[str] | None = None) -> CompareOptions:
    """Parses the options; a mistake ends the program with a sentence and status 2."""
    parser = Parser(
        prog="python -m learning.regression.compare",
        description="Tests whether regressors differ on the same test images.",
    )
    parser.add_argument(
        "regressors",
        type=Path,
        nargs="+",
        metavar="A.skops",
        help="regressors of train_regressor.py, or their descriptions (.json)",
    )
    parser.add_argument("--alpha", type=number(float, above=0, at_most=0.5), default=0.05, help="level of significance")
    parser.add_argument("--n_bootstrap", type=number(int, 100), default=N_RESAMPLES, help="bootstrap resamples")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="random seed for the bootstrap")
    parser.add_argument(
        "--logistic", type=int, choices=LOGISTICS, default=4, help="parameters of the logistic before the residuals"
    )
    options = CompareOptions(**vars(parser.parse_args(arguments)))
    if len(options.regressors) < 2:
        parser.error("name at least two regressors")
    return options
