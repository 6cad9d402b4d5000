"""Where a regressor is good and where not: metrics per kind and per level of distortion.

As the literature reports distortions one by one (Mittal, Moorthy, Bovik, IEEE TIP 21(12), 2012, tables of SRCC and
PLCC on LIVE): on each split, the metrics of the test images of one kind; then the median over the splits. The logistic
before PLCC and RMSE is the one of the complete test part, since a kind has few images in a split. So the errors of all
kinds are on one scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.metrics import plcc, srcc
from learning.regression.evaluate.results import Breakdown, PartResult

FEWEST_IMAGES = 5
"""A split with fewer test images of a kind says nothing about it, and is left out of the kind's median."""


def breakdown(held_out: HeldOut) -> Breakdown | None:
    """Results of the held-out predictions per kind and per level; None where the database has neither."""
    both = [() if labels is None else _per_label(held_out, labels) for labels in (held_out.kinds, held_out.levels)]
    return Breakdown(*both) if any(both) else None


def _per_label(held_out: HeldOut, labels: np.ndarray) -> tuple[PartResult, ...]:
    """A result for the images with each of the (n,) ``labels``."""
    parts = list(zip(held_out.parts(), held_out.mapped_splits, strict=True))
    results = []
    for label in sorted_labels(labels):
        values, images = [], set()
        for (rows, predicted, mos), mapped in parts:
            chosen = labels[rows] == label
            images.update(rows[chosen])
            if chosen.sum() >= FEWEST_IMAGES:
                after = mapped[rows][chosen]
                rmse = np.sqrt(np.mean((after - mos[chosen]) ** 2))
                values.append((srcc(predicted[chosen], mos[chosen]), plcc(after, mos[chosen]), rmse))
        medians = np.median(values, axis=0).tolist() if values else [None] * 3
        results.append(PartResult(label, len(images), len(values), *medians))
    return tuple(results)


def sorted_labels(labels: Sequence[str | None] | np.ndarray) -> list[str]:
    """The different labels, without None; by value where all are numbers, else in alphabetical order."""
    different = {label for label in labels if label is not None}
    try:
        return sorted(different, key=float)
    except ValueError:
        return sorted(different)
