"""Prediction intervals without assumptions on the errors' distribution: split conformal prediction.

The half-width at level L is the ceil((n + 1) L)-th smallest absolute error of n held-out images (Lei et al., J. Am.
Stat. Assoc. 113(523), 2018). A new image's opinion then lies in prediction +- half-width with probability L, if it is
of the same population. The errors are of regressors fitted on part of the images, and the intervals are used with one
fitted on all, whose errors are slightly smaller; so they are, if anything, too wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.names import INTERVAL_LEVELS


@dataclass(frozen=True)
class PredictionIntervals:
    """``half_widths`` on the opinions' scale, for each of ``levels``, which rise.

    ``coverage`` is the share of held-out images whose opinion lies in their interval at level 0.9, where the interval
    was made without the images of their split's test part; None where there is only one split.
    """

    levels: tuple[float, ...]
    half_widths: tuple[float, ...]
    coverage: float | None

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.half_widths):
            raise ValueError(f"{len(self.levels)} levels and {len(self.half_widths)} half-widths")

    def half_width(self, level: float) -> float:
        """Half-width at ``level``, or at the next higher one that is recorded; ValueError where there is none."""
        for recorded, half_width in zip(self.levels, self.half_widths, strict=True):
            if recorded >= level - 1e-9:
                return half_width
        raise ValueError(f"the highest level recorded is {self.levels[-1] if self.levels else 'none'}")


def conformal_half_width(errors: np.ndarray, level: float) -> float | None:
    """The half-width from (n,) absolute errors; None where n is too small for the level."""
    rank = int(np.ceil((len(errors) + 1) * level - 1e-9))
    return float(np.sort(errors)[rank - 1]) if 1 <= rank <= len(errors) else None


def prediction_intervals(calibrated: np.ndarray, mos: np.ndarray) -> PredictionIntervals:
    """Intervals from held-out predictions on the opinions' scale: (splits, n), NaN where an image was not tested."""
    tested = np.flatnonzero(~np.isnan(calibrated).all(axis=0))
    errors = np.abs(np.nanmedian(calibrated[:, tested], axis=0) - mos[tested])
    widths = {level: conformal_half_width(errors, level) for level in INTERVAL_LEVELS}
    recorded = {level: width for level, width in widths.items() if width is not None}
    return PredictionIntervals(tuple(recorded), tuple(recorded.values()), _coverage(calibrated, mos, tested, errors))


def _coverage(calibrated: np.ndarray, mos: np.ndarray, tested: np.ndarray, errors: np.ndarray) -> float | None:
    """Share of covered opinions at level 0.9; each split's test part is left out of the errors that it is held to."""
    covered: list[np.ndarray] = []
    for predictions in calibrated:
        outside = np.isnan(predictions[tested])
        half_width = conformal_half_width(errors[outside], 0.9)
        if half_width is not None:
            part = ~np.isnan(predictions)
            covered.append(np.abs(predictions[part] - mos[part]) <= half_width)
    return float(np.concatenate(covered).mean()) if covered else None
