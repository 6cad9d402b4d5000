"""The D-, L- and P-test: ``python -m learning.regression.dlp_tests --input FOLDER [--regressor R.skops]``

Distorts undistorted photographs by all kinds at all levels, scores everything, and prints the tests of Ma et al. (IEEE
TIP 26(2), 2017; ``learning.regression.evaluate.dlp``) over all kinds and for each kind.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.process import run_script
from networks.errors import UserError
from options.builder import REQUIRED, option, parse, part
from options.images import INPUT_HELP, ComputeOptions, ScoringOptions


@dataclass(frozen=True)
class DlpOptions(ScoringOptions):
    """The D-, L- and P-test of a quality model, on undistorted photographs and their distorted versions (26 kinds at 5
    levels). No opinion scores are needed.
    """

    input: tuple[str, ...] = option(REQUIRED, f"undistorted photographs: {INPUT_HELP}", nargs="+")
    output: Path | None = option(None, "write the results here: a row per kind", metavar="TABLE.csv")
    max_side: int = option(
        768, "reduce larger photographs to this long side before they are distorted, pixels", at_least=1
    )
    seed: int = option(0, "random seed for the distortions", at_least=0)
    compute: ComputeOptions = part("device")

    def __post_init__(self) -> None:
        if self.output and self.output.suffix.lower() != ".csv":
            raise UserError(f"--output {self.output}: the name must end in .csv")


parse_dlp_options = partial(parse, DlpOptions, "python -m learning.regression.dlp_tests")


def main() -> int:
    options = parse_dlp_options()
    # Imported below the options: --help needs no torch.
    from learning.regression.evaluate.dlp import run_dlp_tests

    return run_dlp_tests(options)


if __name__ == "__main__":
    run_script(main)
