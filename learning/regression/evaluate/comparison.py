"""Is regressor A better than regressor B? A test on the same test images of the same splits.

The paired bootstrap of the SRCC difference, with Holm's correction over all pairs. Tests over splits (the t-test,
Wilcoxon's) are left out on purpose: random splits overlap, so their results are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import log
from common.names import N_RESAMPLES
from common.tables import print_table
from learning.regression.evaluate.bootstrap import interval_of, n_tested_groups, resampled_metrics, without_bias
from learning.regression.evaluate.held_out import HeldOut, held_out_file, read_held_out
from learning.regression.evaluate.metrics import srcc
from learning.regression.model.description import Interval, read_description
from networks.errors import UserError
from networks.regressor import DESCRIPTION_SUFFIX

if TYPE_CHECKING:
    from learning.regression.compare import CompareOptions


def compare_regressors(options: CompareOptions) -> None:
    """Reads the regressors that the options name, tests every pair, and prints a table of each."""
    paths, tests = options.regressors, read_tests(options.regressors)
    choices = [read_description(path.with_suffix(DESCRIPTION_SUFFIX), held_out_file(path)).choice for path in paths]
    letters = [chr(ord("A") + index) for index in range(len(paths))]
    pairs = list(combinations(range(len(paths)), 2))
    differences = [srcc_difference(tests[a], tests[b], options.n_bootstrap, options.seed) for a, b in pairs]
    p_values = holm([p_value for _, p_value in differences])
    rows = [
        [letter, f"{test.median('srcc'):.4f}", choice, str(path.with_suffix(""))]
        for letter, test, choice, path in zip(letters, tests, choices, paths, strict=True)
    ]
    print_table(options.table, ["", "SRCC", "choice", "regressor"], rows)
    log.info(
        f"\n{len(tests[0].tested):,d} test images, {len(tests[0].predictions)} splits; bootstrap by "
        f"{'image' if tests[0].groups is None else 'group'}, Holm's correction over {len(pairs)} pairs"
    )
    log.info("SRCC: median over the splits; SRCC difference: mean over the splits")
    log.info("")
    rows = [
        [f"{letters[a]} - {letters[b]}", difference.as_difference(), f"{p_value:.4f}"]
        for (a, b), (difference, _), p_value in zip(pairs, differences, p_values, strict=True)
    ]
    print_table(options.table, ["pair", "SRCC difference [95 % interval]", "p, Holm"], rows)


def read_tests(regressors: Sequence[Path]) -> list[HeldOut]:
    """The held-out predictions of the regressors.

    Raises UserError where a file is missing, or where two regressors were not tested on the same images, with the same
    opinions, by the same splits.
    """
    tests = [read_held_out(held_out_file(path)) for path in regressors]
    for path, test in zip(regressors[1:], tests[1:], strict=True):
        for one, other in zip_longest(_images_in_words(tests[0]), _images_in_words(test), fillvalue="no image"):
            if one != other:
                raise UserError(
                    f"{regressors[0]} and {path} were tested differently: {one}, and {other}; fit both on one table of "
                    "scores, by the same splits"
                )
    return tests


def _images_in_words(test: HeldOut) -> list[str]:
    """For each image, its name, opinion and the splits that tested on it."""
    return [
        f"{image} of opinion {mos} in splits {', '.join(map(str, np.flatnonzero(tested) + 1))}"
        for image, mos, tested in zip(test.images, test.mos.tolist(), ~np.isnan(test.predictions.T), strict=True)
    ]


def srcc_difference(
    first: HeldOut, second: HeldOut, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[Interval, float]:
    """The paired bootstrap: SRCC of ``first`` minus SRCC of ``second``, the mean over the splits, and its p-value.

    Both are computed on the same resampled images. The p-value, for no difference, is two-sided: twice the smaller
    share of resamples on one side of 0, with one added to both counts (Davison, Hinkley, Bootstrap Methods and their
    Application, 1997, section 4.2).
    """
    of_first, of_second = (resampled_metrics(one, n_resamples, seed)[:, :, 0] for one in (first, second))
    differences = np.nanmean(of_first - of_second, axis=0)
    pairs = zip(first.parts(), second.parts(), strict=True)
    estimate = float(np.mean([srcc(a, mos) - srcc(b, mos) for (_, a, mos), (_, b, _) in pairs]))
    unbiased = without_bias(estimate, differences)
    smaller = min((unbiased <= 0).sum(), (unbiased >= 0).sum())
    p_value = min(1.0, 2 * (smaller + 1) / (len(unbiased) + 1))
    return interval_of(estimate, differences, n_tested_groups(first), limit=2), float(p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for testing several hypotheses (Holm, Scand. J. Stat. 6(2), 1979), in the given order."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(p_values)[order]))
    return adjusted.tolist()
