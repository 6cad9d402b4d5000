"""Is regressor A better than regressor B? ``python -m learning.regression.compare A.skops B.skops [...]``

The tests are those of ``learning.regression.evaluate.comparison``.
"""

from __future__ import annotations

from common import log
from common.process import run_script
from options.compare import parse_compare_options


def main() -> None:
    options = parse_compare_options()

    def work() -> None:
        from learning.regression.evaluate.comparison import compare_regressors  # scipy, which --help does not need

        compare_regressors(options)

    log.set_script("learning.regression.compare")
    run_script(work)


if __name__ == "__main__":
    main()
