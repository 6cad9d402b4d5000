"""Is model A better than model B? ``python -m learning.regression.compare A.skops B.skops [...]``

Compares regressors on the same test images of the same splits: the paired bootstrap of the SRCC difference, and the
test of Pitman and Morgan on the variance of the residuals. Holm's correction covers all pairs. Tests over splits (the
t-test, Wilcoxon's) are left out on purpose: random splits overlap, so their results are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import log
from common.errors import UserError
from common.process import run_script
from learning.regression.model.files import description_file, read_description
from options.compare import CompareOptions, parse_compare_options

# The tests are imported where they are used: they import scipy, which --help does not need.
if TYPE_CHECKING:
    from learning.regression.evaluate.held_out import HeldOut
    from learning.regression.evaluate.significance import SrccDifference


@dataclass(frozen=True)
class Model:
    """A regressor that takes part: its name, the choice behind its predictions, and the predictions."""

    name: str
    choice: str
    held_out: HeldOut

    @property
    def srcc(self) -> float:
        """Median over the splits."""
        from learning.regression.evaluate.metrics import srcc

        return float(np.median([srcc(part.predicted, part.mos) for part in self.held_out.parts()]))


@dataclass(frozen=True)
class Pair:
    """Both tests of two models, with p-values before and after Holm's correction."""

    first: int
    second: int
    difference: SrccDifference
    rmse_ratio: float
    p_residuals: float
    p_srcc_holm: float = 1.0
    p_residuals_holm: float = 1.0


def read_models(paths: Sequence[Path]) -> list[Model]:
    """The models with their held-out predictions; UserError where files are missing or do not fit together."""
    from learning.regression.evaluate.held_out import held_out_file, read_held_out

    models = []
    for path in paths:
        held_out = held_out_file(path)
        choice = read_description(description_file(path), held_out).choice
        models.append(Model(str(path.with_suffix("")), choice, read_held_out(held_out)))
    for model in models[1:]:
        check_same_test(models[0], model)
    if len({model.choice for model in models}) > 1:
        log.warning(
            "the hyper-parameters of some regressors were chosen within each split (nested), and those of others once "
            "for all splits (shared), which is too optimistic; fit all with the same --choice"
        )
    return models


def check_same_test(first: Model, second: Model) -> None:
    """UserError, naming the first difference, unless both were tested on the same images by the same splits."""
    a, b = first.held_out, second.held_out
    names = f"{first.name} and {second.name}"
    for row, (image, other) in enumerate(zip(a.images, b.images, strict=False), start=1):
        if image != other:
            raise UserError(f"{names} were tested on different images: image {row} is {image} and {other}")
    if len(a.images) != len(b.images):
        longer = max(a.images, b.images, key=len)
        extra = longer[min(len(a.images), len(b.images))]
        raise UserError(f"{names} were tested on different images: only one has {extra}")
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


def compare(models: Sequence[Model], options: CompareOptions) -> list[Pair]:
    """Both tests of every pair; Holm's correction over all pairs, for each test."""
    from learning.regression.evaluate.significance import holm, pitman_morgan, srcc_difference

    residuals = []
    for model in models:
        tested = model.held_out.tested
        residuals.append(model.held_out.mapped(options.logistic)[tested] - model.held_out.mos[tested])
    pairs = [
        Pair(
            first,
            second,
            srcc_difference(models[first].held_out, models[second].held_out, options.n_bootstrap, options.seed),
            float(np.sqrt(np.mean(residuals[first] ** 2) / np.mean(residuals[second] ** 2))),
            pitman_morgan(residuals[first], residuals[second]),
        )
        for first, second in combinations(range(len(models)), 2)
    ]
    of_srcc = holm([pair.difference.p_value for pair in pairs])
    of_residuals = holm([pair.p_residuals for pair in pairs])
    return [
        Pair(pair.first, pair.second, pair.difference, pair.rmse_ratio, pair.p_residuals, p_srcc, p_residuals)
        for pair, p_srcc, p_residuals in zip(pairs, of_srcc, of_residuals, strict=True)
    ]


def sign_matrix(n_models: int, pairs: Sequence[Pair], alpha: float) -> list[list[str]]:
    """Row against column, as papers print it: 1 significantly better, 0 significantly worse, - neither.

    Each cell has two signs: by SRCC, and by the variance of the residuals.
    """
    matrix = [["--"] * n_models for _ in range(n_models)]
    for pair in pairs:
        by_srcc = _sign(pair.p_srcc_holm, pair.difference.interval.estimate > 0, alpha)
        by_residuals = _sign(pair.p_residuals_holm, pair.rmse_ratio < 1, alpha)
        matrix[pair.first][pair.second] = by_srcc + by_residuals
        matrix[pair.second][pair.first] = (by_srcc + by_residuals).translate(str.maketrans("01", "10"))
    return matrix


def _sign(p_value: float, better: bool, alpha: float) -> str:
    return "-" if p_value >= alpha else "1" if better else "0"


def print_comparison(models: Sequence[Model], pairs: Sequence[Pair], alpha: float) -> None:
    """The models, the tests of every pair, and the matrix of signs."""
    held_out = models[0].held_out
    unit = "image" if held_out.groups is None else "group"
    log.info(
        f"{len(held_out.tested):,d} test images, {len(held_out.predictions)} splits; bootstrap by {unit}, "
        f"Holm's correction over {len(pairs)} pairs"
    )
    log.info("SRCC: median over the splits; SRCC difference: mean over the splits")
    log.info("")
    for index, model in enumerate(models):
        log.info(f"{_letter(index)}  SRCC {model.srcc:.4f}  {model.name} (choice: {model.choice})")
    log.info("\npair    SRCC difference  95 % interval         p, Holm   RMSE ratio   p, Holm (Pitman-Morgan)")
    for pair in pairs:
        interval = pair.difference.interval
        log.info(
            f"{_letter(pair.first)} - {_letter(pair.second)}   {interval.estimate:+14.4f}  "
            f"[{interval.low:+.4f}, {interval.high:+.4f}]  {pair.p_srcc_holm:9.4f}   {pair.rmse_ratio:10.4f}   "
            f"{pair.p_residuals_holm:9.4f}"
        )
    log.info(f"\nrow against column at {alpha:g}: 1 better, 0 worse, - no difference; by SRCC, then by residuals")
    matrix = sign_matrix(len(models), pairs, alpha)
    log.info("   " + "  ".join(f"{_letter(index):2}" for index in range(len(models))))
    for index, row in enumerate(matrix):
        log.info(f"{_letter(index)}  " + "  ".join(row))


def _letter(index: int) -> str:
    """A, B, ..., Z, M27, ..."""
    return chr(ord("A") + index) if index < 26 else f"M{index + 1}"


def main() -> None:
    options = parse_compare_options()

    def work() -> None:
        models = read_models(options.regressors)
        print_comparison(models, compare(models, options), options.alpha)

    log.set_script("learning.regression.compare")
    run_script(work)


if __name__ == "__main__":
    main()
