"""Is regressor A better than regressor B? ``python -m learning.regression.compare A.skops B.skops [...]``

The test is that of ``learning.regression.evaluate.comparison``.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.names import N_RESAMPLES
from common.process import run_script
from common.tables import TABLE_FORMS
from networks.errors import UserError
from options.builder import REQUIRED, option, parse


@dataclass(frozen=True)
class CompareOptions:
    """Tests whether regressors differ on the same test images."""

    regressors: tuple[Path, ...] = option(
        REQUIRED, "regressors of train_regressor.py, or their descriptions (.json)", flag="regressors", nargs="+",
        metavar="A.skops",
    )  # fmt: skip
    n_bootstrap: int = option(N_RESAMPLES, "bootstrap resamples", at_least=100)
    seed: int = option(0, "random seed for the bootstrap", at_least=0)
    table: str = option(TABLE_FORMS[0], "form of the tables; latex, markdown: for a paper", choices=TABLE_FORMS)

    def __post_init__(self) -> None:
        if len(self.regressors) < 2:
            raise UserError("name at least two regressors")


parse_compare_options = partial(parse, CompareOptions, "python -m learning.regression.compare")


def main() -> None:
    options = parse_compare_options()
    # Imported below the options: --help needs no scipy.
    from learning.regression.evaluate.comparison import compare_regressors

    compare_regressors(options)


if __name__ == "__main__":
    run_script(main)
