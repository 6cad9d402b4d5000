"""The record of a regressor: what it was made from, how it was evaluated, how good it is. Kept as JSON beside it.

Imports nothing slow, since every score reads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from learning.regression.model.meaning import Opinions, PairOrder, ScoreInterval, Undistorted, order_in_words
from networks.errors import UserError
from networks.regressor import ScoringDescription, load_description

LABELS = {"srcc": "SRCC", "plcc_raw": "PLCC raw", "plcc": "PLCC fit", "krcc": "KRCC", "rmse": "RMSE fit"}
"""Field of ``Metrics`` -> its name in reports; "fit" means after the logistic."""

METRICS = tuple(LABELS)
"""In the order in which they are reported."""

CONFIDENCE = 0.95
"""Of all bootstrap intervals."""


@dataclass(frozen=True)
class Hyperparameters:
    """One candidate of a search; ``alpha`` and ``l1_ratio`` (None for ridge) as scikit-learn defines them."""

    estimator: str
    standardized: bool
    alpha: float
    l1_ratio: float | None = None

    def __str__(self) -> str:
        family = "Ridge" if self.estimator == "ridge" else f"ElasticNet, l1_ratio {self.l1_ratio:g}"
        return f"{family}, alpha {self.alpha:.3g}, {'standardised' if self.standardized else 'raw'} features"


@dataclass(frozen=True)
class Metrics:
    """The agreement of predictions with opinions.

    ``plcc_raw`` is of the predictions as they are; earlier versions of this program did not record it. ``plcc`` and
    ``rmse`` are after a fitted curve of the kind ``mapping`` (see ``OpinionMapping``), ``rmse`` in units of the
    opinions.
    """

    srcc: float
    plcc: float
    krcc: float
    rmse: float
    mapping: str
    plcc_raw: float | None = None


@dataclass(frozen=True)
class Results:
    """The metrics on the test part of each split."""

    splits: tuple[Metrics, ...] = ()


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval."""

    estimate: float
    low: float
    high: float

    def in_words(self) -> str:
        """For example "0.63 (0.56 to 0.68)"."""
        return f"{self.estimate:.2f} ({self.low:.2f} to {self.high:.2f})"

    def as_difference(self) -> str:
        """For example "+0.0123 [-0.0045, +0.0291]"."""
        return f"{self.estimate:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True)
class BootstrapIntervals:
    """Intervals of metrics of all held-out predictions, from ``n_resamples`` resamples of the groups."""

    metrics: Mapping[str, Interval]
    n_resamples: int
    seed: int
    confidence: float = CONFIDENCE


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


@dataclass(frozen=True)
class ObserverSpread:
    """Agreement of the observers with each other, and of the predictions with them.

    ``mean_std`` is the mean standard deviation of an image's ratings, ``mean_raters`` the mean number of raters.
    ``ceiling`` is the median SRCC between the mean opinions of two simulated halves of the raters: a model cannot be
    told from the observers beyond it. ``outlier_ratio`` is the share of held-out images whose error exceeds the 95 %
    confidence interval of their opinion, ``rmse_epsilon`` the RMSE of what exceeds it, both after the logistic.
    """

    mean_std: float
    mean_raters: float
    ceiling: float
    outlier_ratio: float
    rmse_epsilon: float

    def in_words(self) -> str:
        return (
            f"std {self.mean_std:.3g}, {self.mean_raters:.3g} raters an image; SRCC between two simulated halves "
            f"{self.ceiling:.4f}; outlier ratio {self.outlier_ratio:.4f}, epsilon-insensitive RMSE "
            f"{self.rmse_epsilon:.4f} (ITU-T P.1401)"
        )


@dataclass(frozen=True)
class RegressorDescription(ScoringDescription):
    """Everything that is recorded beside a fitted model.

    The opinions lie in ``score_range``. ``scores`` names their table, and ``inversion`` says how scores in which lower
    is better were inverted. ``choice`` is the choice of hyper-parameters (``shared`` or ``nested``) that is reported
    first, and the one of the ``intervals``. ``fit_images`` are the first 16 digits of the SHA-256 of each file of the
    fit, where it is known, separated by blanks. ``longer_sides`` are the smallest, median and largest one of the
    photographs with opinions, in pixels. ``pair_orders`` are by increasing difference. A field is empty or None where
    there is nothing to record, or where an earlier version of this program did not record it.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    scores: str = ""
    note: str = ""
    inversion: str = ""
    protocol: str = ""
    hyperparameters: Hyperparameters | None = None
    validation_srcc: float | None = None
    n_images: int | None = None
    choice: str = "shared"
    shared: Results = Results()
    nested: Results | None = None
    intervals: BootstrapIntervals | None = None
    prediction_intervals: PredictionIntervals | None = None
    observers: ObserverSpread | None = None
    fit_images: str = ""
    longer_sides: tuple[int, int, int] | None = None
    opinions: Opinions | None = None
    pair_orders: tuple[PairOrder, ...] = ()
    undistorted: Undistorted | None = None

    def was_fitted_on(self, sha256: str | None) -> bool:
        """Whether the file of this SHA-256 is known to be an image of the fit."""
        return sha256 is not None and sha256[:16] in self.fit_images

    def remarks_on_sizes(self, sides: Iterable[tuple[str, int | None]], max_side: int | None) -> list[str]:
        """Sentences where images are scored at other sizes than those of the fit; none where it records no sizes.

        ``sides`` are name and longer side in pixels, None where unknown; ``max_side`` is the one in use.
        """
        if self.longer_sides is None:
            return []
        smallest, _, largest = (min(side, self.max_side or side) for side in self.longer_sides)
        remarks = []
        if min(self.longer_sides[-1], max_side or math.inf) != largest:
            remarks.append(
                f"the regressor was fitted on images of up to {largest} pixels; scores with this --max_side can be "
                "compared with each other only"
            )
        used = {name: min(side, max_side or side) for name, side in sides if side}
        far = [name for name, side in used.items() if not smallest / 2 <= side <= 2 * largest]
        if far:
            remarks.append(
                f"{len(far):,d} of {len(used):,d} images are far smaller or larger than those of the fit (longer side "
                f"{smallest} to {largest} pixels): {', '.join(f'{name} ({used[name]})' for name in far[:3])}"
            )
        return remarks

    @property
    def reported(self) -> Results:
        """The results of the choice that is reported first."""
        return self.nested if self.choice == "nested" and self.nested else self.shared

    def score_interval(self, level: float) -> ScoreInterval:
        """The prediction interval at ``level`` (0.9: nine of ten opinions lie inside it), or at the next higher one
        that is recorded; UserError where there is none.
        """
        intervals = self.prediction_intervals
        if intervals is None:
            raise UserError(
                "the regressor records no prediction intervals: an earlier version fitted it; fit it again with "
                "train_regressor.py"
            )
        row = int(np.searchsorted(intervals.levels, level - 1e-9))
        if row == len(intervals.levels):
            highest = intervals.levels[-1] if intervals.levels else "none"
            raise UserError(f"no prediction interval at level {level:g}: the highest level recorded is {highest}")
        scale = self.opinions.scale if self.opinions else self.score_range
        return ScoreInterval(level, intervals.half_widths[row], intervals.coverage, scale)

    def meaning(self, interval: ScoreInterval | None = None) -> list[str]:
        """Sentences on a score: its place among opinions and undistorted photographs, its interval, a pair's order."""
        place = "grade and percentile are left out: an older train_regressor.py did not record the opinions of the fit"
        if self.opinions:
            place = self.opinions.in_words()
        known = [one.in_words() for one in (self.undistorted, interval) if one]
        sentences = [place, *known, order_in_words(self.pair_orders)]
        return [sentence for sentence in sentences if sentence]


def read_description(path: Path, held_out: Path | None = None) -> RegressorDescription:
    """The description alone, from its JSON file.

    Raises UserError where the file is missing, damaged or of another format, or where the predictions ``held_out`` were
    not written with it.
    """
    recorded = {"held_out_sha256": held_out} if held_out is not None and held_out.is_file() else {}
    return load_description(path, RegressorDescription, recorded)
