"""Where a regressor is good and where not: metrics per kind and per level of distortion.

As the literature reports distortions one by one (Mittal, Moorthy, Bovik, IEEE TIP 21(12), 2012, tables of SRCC and
PLCC on LIVE): on each split, the metrics of the test images of one kind; then the median over the splits. The logistic
before PLCC and RMSE is the one of the complete test part, since a kind has few images in a split. So the errors of all
kinds are on one scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.metrics import plcc, srcc
from learning.regression.evaluate.results import Breakdown, PartResult

FEWEST_IMAGES = 5
"""A split with fewer test images of a kind says nothing about it, and is left out of the kind's median."""


def breakdown(held_out: HeldOut, n_parameters: int = 4) -> Breakdown | None:
    """Results of the held-out predictions per kind and per level; None where the database has neither."""
    if held_out.kinds is None and held_out.levels is None:
        return None
    mapped = held_out.mapped_splits(n_parameters)
    return Breakdown(
        *(
            () if labels is None else _per_label(held_out, mapped, labels)
            for labels in (held_out.kinds, held_out.levels)
        )
    )


def _per_label(held_out: HeldOut, mapped: np.ndarray, labels: np.ndarray) -> tuple[PartResult, ...]:
    """A result for each of the (n,) ``labels``; ``mapped`` is (splits, n) after the logistic."""
    return tuple(_of_images(label, held_out, mapped, labels == label) for label in sorted_labels(labels))


def sorted_labels(labels: Sequence[str | None] | np.ndarray) -> list[str]:
    """The different labels, without None; by value where all are numbers, else in alphabetical order."""
    different = {label for label in labels if label is not None}
    try:
        return sorted(different, key=float)
    except ValueError:
        return sorted(different)


def _of_images(label: str, held_out: HeldOut, mapped: np.ndarray, chosen: np.ndarray) -> PartResult:
    """The result for the images that ``chosen``, bool (n,), marks."""
    tested = ~np.isnan(held_out.predictions) & chosen
    values = [
        _metrics(predictions[rows], of_split[rows], held_out.mos[rows])
        for predictions, of_split, rows in zip(held_out.predictions, mapped, tested, strict=True)
        if rows.sum() >= FEWEST_IMAGES
    ]
    medians: list[Any] = np.median(values, axis=0).tolist() if values else [None] * 3
    return PartResult(label, int(tested.any(axis=0).sum()), len(values), *medians)


def _metrics(predicted: np.ndarray, mapped: np.ndarray, mos: np.ndarray) -> tuple[float, float, float]:
    """SRCC, PLCC and RMSE of (n,) predictions, before and after the logistic, and opinions."""
    rmse = float(np.sqrt(np.mean((mapped - mos) ** 2)))
    return float(srcc(predicted, mos)), float(plcc(mapped, mos)), rmse
