"""The results of an evaluation as they are reported and kept. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LABELS = {"srcc": "SRCC", "plcc_raw": "PLCC raw", "plcc": "PLCC fit", "krcc": "KRCC", "rmse": "RMSE fit"}
"""Field of ``Metrics`` -> its name in reports; "fit" means after the logistic."""

METRICS = tuple(LABELS)
"""In the order in which they are reported."""

CONFIDENCE = 0.95
"""Of all intervals."""


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
class Spread:
    """The distribution of a metric over the splits."""

    median: float
    lower_quartile: float
    upper_quartile: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of a metric's values, one for each split."""
        low, lower, median, upper, high = np.percentile(values, (0, 25, 50, 75, 100)).tolist()
        return cls(median, lower, upper, low, high)


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval."""

    estimate: float
    low: float
    high: float

    def in_words(self) -> str:
        """For example "0.63 (0.56 to 0.68)"."""
        return f"{self.estimate:.2f} ({self.low:.2f} to {self.high:.2f})"


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


@dataclass(frozen=True)
class PartResult:
    """Median metrics of the images with one ``label``.

    ``n_images`` is the number of images that at least one split tested on, ``n_splits`` the number of splits in the
    median. The metrics are None where no split tests on enough of them (``breakdown.FEWEST_IMAGES``). ``rmse`` is in
    units of the opinions.
    """

    label: str
    n_images: int
    n_splits: int
    srcc: float | None
    plcc: float | None
    rmse: float | None


@dataclass(frozen=True)
class Breakdown:
    """Results ``per_kind`` and ``per_level`` of distortion; empty where the database has no kinds or no levels."""

    per_kind: tuple[PartResult, ...] = ()
    per_level: tuple[PartResult, ...] = ()

    @property
    def tables(self) -> dict[str, tuple[PartResult, ...]]:
        """Results by "kind" and by "level", without those that are empty."""
        both = {"kind": self.per_kind, "level": self.per_level}
        return {name: results for name, results in both.items() if results}
