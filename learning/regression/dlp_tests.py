"""The D-, L- and P-test: ``python -m learning.regression.dlp_tests --input FOLDER [--regressor R.skops]``

Distorts undistorted photographs by all kinds at all levels, scores everything, and prints the tests of Ma et al. (IEEE
TIP 26(2), 2017; ``learning.regression.evaluate.dlp``) over all kinds and for each kind.
"""

from __future__ import annotations

from common import log
from common.process import run_script
from options.dlp_tests import parse_dlp_options


def main() -> None:
    options = parse_dlp_options()

    def work() -> int:
        from learning.regression.evaluate.dlp import run_dlp_tests  # torch, which --help does not need

        return run_dlp_tests(options)

    log.set_script("learning.regression.dlp_tests")
    run_script(work)


if __name__ == "__main__":
    main()
