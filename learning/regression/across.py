"""Across databases: ``python -m learning.regression.across --set NAME FEATURES SCORES.csv --set ...``

Prints the matrix train x test of SRCC and PLCC fit (``learning.regression.evaluate.cross_database``); ``--output``
writes it as a CSV.
"""

from __future__ import annotations

from common import log
from common.process import run_script
from options.across import parse_across_options


def main() -> None:
    options = parse_across_options()

    def work() -> None:
        # pandas and scikit-learn, which --help does not need
        from learning.regression.evaluate.cross_database import train_and_test_across

        train_and_test_across(options)

    log.set_script("learning.regression.across")
    run_script(work)


if __name__ == "__main__":
    main()
