"""Is regressor A better than regressor B? Tests on the same test images of the same splits.

The paired bootstrap of the SRCC difference, and the test of Pitman and Morgan on the variance of the residuals. Holm's
correction covers all pairs. Tests over splits (the t-test, Wilcoxon's) are left out on purpose: random splits overlap,
so their results are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from common import log
from common.names import N_RESAMPLES
from common.tables import print_table
from learning.regression.evaluate.bootstrap import (
    interval_of,
    n_tested_groups,
    resampled_counts,
    srcc_of_resamples,
    without_bias,
)
from learning.regression.evaluate.held_out import HeldOut, held_out_file, read_held_out
from learning.regression.evaluate.metrics import srcc
from learning.regression.model.description import Interval, read_description
from networks.errors import UserError
from networks.regressor import description_file

if TYPE_CHECKING:
    from learning.regression.compare import CompareOptions


@dataclass(frozen=True)
class EvaluatedRegressor:
    """A regressor's name, the choice of hyper-parameters behind its predictions, and the predictions."""

    name: str
    choice: str
    held_out: HeldOut


@dataclass(frozen=True)
class PairResult:
    """Both tests of two regressors, by their positions; the p-values are after Holm's correction."""

    first: int
    second: int
    srcc_difference: Interval
    p_srcc: float
    rmse_ratio: float
    p_residuals: float


def compare_regressors(options: CompareOptions) -> None:
    """Reads the regressors that the options name, tests every pair, and prints tables of both and of the signs."""
    regressors = read_regressors(options.regressors, options.logistic)
    pairs = compared_pairs(regressors, options.n_bootstrap, options.seed)
    held_out = regressors[0].held_out
    letters = [chr(ord("A") + index) if index < 26 else f"M{index + 1}" for index in range(len(regressors))]
    log.info(
        f"{len(held_out.tested):,d} test images, {len(held_out.predictions)} splits; bootstrap by "
        f"{'image' if held_out.groups is None else 'group'}, Holm's correction over {len(pairs)} pairs"
    )
    log.info("SRCC: median over the splits; SRCC difference: mean over the splits\n")
    rows = [
        [letter, f"{one.held_out.median('srcc'):.4f}", one.choice, one.name]
        for letter, one in zip(letters, regressors, strict=True)
    ]
    print_table(options.table, ["", "SRCC", "choice", "regressor"], rows)
    log.info("")
    header = ["pair", "SRCC difference [95 % interval]", "p, Holm", "RMSE ratio", "p, Holm (Pitman-Morgan)"]
    rows = [
        [f"{letters[pair.first]} - {letters[pair.second]}", pair.srcc_difference.as_difference(),
         *(f"{value:.4f}" for value in (pair.p_srcc, pair.rmse_ratio, pair.p_residuals))]
        for pair in pairs
    ]  # fmt: skip
    print_table(options.table, header, rows)
    log.info(
        f"\nrow against column at {options.alpha:g}: 1 better, 0 worse, - no difference; by SRCC, then by residuals"
    )
    signs = sign_matrix(len(regressors), pairs, options.alpha)
    print_table(options.table, ["", *letters], [[letter, *row] for letter, row in zip(letters, signs, strict=True)])


def read_regressors(paths: Sequence[Path], n_parameters: int = 4) -> list[EvaluatedRegressor]:
    """The regressors with their held-out predictions; UserError where files are missing or do not fit together."""
    regressors = []
    for path in paths:
        held_out = held_out_file(path)
        choice = read_description(description_file(path), held_out).choice
        regressors.append(EvaluatedRegressor(str(path.with_suffix("")), choice, read_held_out(held_out, n_parameters)))
    for other in regressors[1:]:
        _check_same_test(regressors[0], other)
    if len({one.choice for one in regressors}) > 1:
        log.warning(
            "the hyper-parameters of some regressors were chosen within each split (nested), and those of others once "
            "for all splits (shared), which is too optimistic; fit all with the same --choice"
        )
    return regressors


def _check_same_test(first: EvaluatedRegressor, second: EvaluatedRegressor) -> None:
    """UserError, naming the first difference, unless both were tested on the same images by the same splits."""
    a, b = first.held_out, second.held_out
    names = f"{first.name} and {second.name}"
    for row, (image, other) in enumerate(zip_longest(a.images, b.images, fillvalue="missing"), start=1):
        if image != other:
            raise UserError(f"{names} were tested on different images: image {row} is {image} and {other}")
    different = np.flatnonzero(a.mos != b.mos)
    if different.size:
        raise UserError(f"{names} have different opinions of {a.images[different[0]]}")
    if len(a.predictions) != len(b.predictions):
        raise UserError(f"{names} were tested on {len(a.predictions)} and {len(b.predictions)} splits")
    splits, images = np.nonzero(np.isnan(a.predictions) != np.isnan(b.predictions))
    if splits.size:
        raise UserError(
            f"{names} were tested on different splits: in split {splits[0] + 1} only one tested on "
            f"{a.images[images[0]]}"
        )


def compared_pairs(regressors: Sequence[EvaluatedRegressor], n_resamples: int, seed: int) -> list[PairResult]:
    """Both tests of every pair; Holm's correction over all pairs, for each test."""
    held_out = [one.held_out for one in regressors]
    residuals = [one.mapped[one.tested] - one.mos[one.tested] for one in held_out]
    rmse = [float(np.sqrt(np.mean(of_one**2))) for of_one in residuals]
    pairs = list(combinations(range(len(regressors)), 2))
    differences = [srcc_difference(held_out[a], held_out[b], n_resamples, seed) for a, b in pairs]
    p_srcc = holm([p_value for _, p_value in differences])
    p_residuals = holm([pitman_morgan(residuals[a], residuals[b]) for a, b in pairs])
    return [
        PairResult(a, b, differences[k][0], p_srcc[k], rmse[a] / rmse[b], p_residuals[k])
        for k, (a, b) in enumerate(pairs)
    ]


def srcc_difference(
    first: HeldOut, second: HeldOut, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[Interval, float]:
    """The paired bootstrap: SRCC of ``first`` minus SRCC of ``second``, the mean over the splits, and its p-value.

    Both are computed on the same resampled images. The p-value, for no difference, is two-sided: twice the smaller
    share of resamples on one side of 0, with one added to both counts (Davison, Hinkley, Bootstrap Methods and their
    Application, 1997, section 4.2).
    """
    pairs = [(rows, a, b, mos) for (rows, a, mos), (_, b, _) in zip(first.parts(), second.parts(), strict=True)]
    blocks = [
        [
            srcc_of_resamples(a, mos, counts[:, rows]) - srcc_of_resamples(b, mos, counts[:, rows])
            for rows, a, b, mos in pairs
        ]
        for counts in resampled_counts(first, n_resamples, seed)
    ]
    of_parts = np.concatenate(blocks, axis=1)  # (parts, samples)
    differences = np.nanmean(of_parts[:, ~np.isnan(of_parts).all(axis=0)], axis=0)
    estimate = float(np.mean([srcc(a, mos) - srcc(b, mos) for _, a, b, mos in pairs]))
    unbiased = without_bias(estimate, differences)
    smaller = min((unbiased <= 0).sum(), (unbiased >= 0).sum())
    p_value = min(1.0, 2 * (smaller + 1) / (len(unbiased) + 1))
    return interval_of(estimate, differences, n_tested_groups(first), limit=2), float(p_value)


def pitman_morgan(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value for equal variance of paired residuals (n,) and (n,).

    Their variances are equal if and only if their sum and difference are uncorrelated (Pitman, Biometrika 31, 1939;
    Morgan, ibid.). The usual F-test assumes independent residuals. Residuals of two models on the same images are not
    independent (Zhu et al., IEEE Signal Process. Mag. 35(4), 2018).
    """
    if np.ptp(first - second) == 0:
        return 1.0
    return float(stats.pearsonr(first + second, first - second).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for testing several hypotheses (Holm, Scand. J. Stat. 6(2), 1979), in the given order."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(p_values)[order]))
    return adjusted.tolist()


def sign_matrix(n_regressors: int, pairs: Sequence[PairResult], alpha: float) -> list[list[str]]:
    """Row against column, as papers print it: 1 significantly better, 0 significantly worse, - neither.

    Each cell has two signs: by SRCC, and by the variance of the residuals.
    """
    matrix = [["--"] * n_regressors for _ in range(n_regressors)]
    for pair in pairs:
        tests = ((pair.p_srcc, pair.srcc_difference.estimate > 0), (pair.p_residuals, pair.rmse_ratio < 1))
        signs = "".join("-" if p_value >= alpha else "1" if better else "0" for p_value, better in tests)
        matrix[pair.first][pair.second] = signs
        matrix[pair.second][pair.first] = signs.translate(str.maketrans("01", "10"))
    return matrix
