"""What a score means: its place among the opinions of the fit, its prediction interval, the order of two photographs.

Kept in the description of a regressor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

GRADES = ("Bad", "Poor", "Fair", "Good", "Excellent")
"""The quality scale of Recommendation ITU-R BT.500. Here a grade is a fifth of the opinions' scale."""

N_QUANTILES = 101


@dataclass(frozen=True)
class Opinions:
    """The opinions of the fit: the ends of their ``scale``, and ``quantiles`` in equal steps from 0 to 100 %.

    Raises ValueError where a number is smaller than the one before it.
    """

    scale: tuple[float, float]
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.quantiles) < 2 or any(np.diff(values).min() < 0 for values in (self.scale, self.quantiles)):
            raise ValueError(f"scale {list(self.scale)} and {len(self.quantiles)} quantiles do not rise")

    @classmethod
    def of(cls, mos: np.ndarray, scale: tuple[float, float] | None = None) -> Opinions:
        """Of (n,) opinions. Without a ``scale``, it goes from the lowest to the highest opinion."""
        quantiles = np.quantile(mos, np.linspace(0, 1, N_QUANTILES))
        rounded = tuple(float(f"{value:.5g}") for value in quantiles)
        return cls(scale or (float(mos.min()), float(mos.max())), rounded)

    def share(self, score: float) -> float:
        """The place of a score on the scale: 0 at the lower end and below it, 1 at the upper end and above it."""
        return float(np.interp(score, self.scale, (0, 1)))

    def grade(self, score: float) -> str:
        """One of GRADES."""
        return GRADES[min(int(5 * self.share(score)), 4)]

    def percentile(self, score: float) -> float:
        """The percentage of the photographs of the fit that have a lower opinion than ``score``."""
        return round(float(np.interp(score, self.quantiles, np.linspace(0, 100, len(self.quantiles)))), 1)

    def in_words(self) -> str:
        low, high = self.scale
        return (
            f"grade: the fifth of the opinions' scale, {low:.4g} to {high:.4g}, in which the score lies, in words of "
            "ITU-R BT.500; percentile: % of the photographs of the fit with a lower opinion"
        )


@dataclass(frozen=True)
class PairOrder:
    """How often the higher of two scores has the higher opinion, where the scores differ by about ``difference``.

    It is the share ``right`` of ``n_pairs`` pairs of held-out photographs with different opinions, of all splits.
    """

    difference: float
    right: float
    n_pairs: int


def order_in_words(orders: Sequence[PairOrder]) -> str:
    """A sentence on the order of two photographs; empty where nothing is recorded."""
    differences = ", ".join(f"{order.difference:.4g}" for order in orders)
    shares = ", ".join(f"{100 * order.right:.0f}" for order in orders)
    if not orders:
        return ""
    return (
        f"of two photographs whose scores differ by {differences}, the one with the higher score has the higher "
        f"opinion in {shares} % of the held-out pairs"
    )


@dataclass(frozen=True)
class Undistorted:
    """Scores of ``n_images`` undistorted photographs outside the fit: the ``lowest``, and ends of shares of them."""

    n_images: int
    lowest: float
    tenth: float
    half: float

    @classmethod
    def of(cls, scores: np.ndarray) -> Undistorted:
        """Of (n,) scores."""
        return cls(len(scores), *(float(f"{value:.5g}") for value in np.quantile(scores, (0, 0.1, 0.5))))

    def in_words(self) -> str:
        return (
            f"of {self.n_images:,d} undistorted photographs outside the fit, half score above {self.half:.4g}, nine of "
            f"ten above {self.tenth:.4g}, and the lowest {self.lowest:.4g}"
        )


@dataclass(frozen=True)
class ScoreInterval:
    """The interval score +- ``half_width``, which holds an opinion with probability ``level``.

    ``coverage_at_90`` is the share of held-out opinions in their intervals at level 0.9, or None. ``scale`` are the
    ends of the opinions' scale, or the lowest and the highest opinion of the fit.
    """

    level: float
    half_width: float
    coverage_at_90: float | None
    scale: tuple[float, float]

    def ends(self, score: float) -> tuple[float, float]:
        """The lower and the upper end around ``score``, cut at the ends of the scale; the score is always inside."""
        lowest, highest = self.scale
        return max(score - self.half_width, min(score, lowest)), min(score + self.half_width, max(score, highest))

    def in_words(self) -> str:
        checked = self.coverage_at_90
        seen = f"; on held-out images the 90 % interval held {checked:.1%}" if checked is not None else ""
        return (
            f"{100 * self.level:g} % of the opinions on similar images lie between low and high: score +- "
            f"{self.half_width:.4g}, cut at {self.scale[0]:.4g} and {self.scale[1]:.4g} (split conformal{seen})"
        )


class Column(NamedTuple):
    """A column of a list of scores: its name, how its values are printed, and the value for a score."""

    name: str
    format: str
    of: Callable[[float], float | str]


def score_columns(opinions: Opinions | None, interval: ScoreInterval | None) -> list[Column]:
    """The score, and what is known of it: the ends of its interval, its place among the opinions."""
    columns = [Column("score", "8.4f", float)]
    if interval:
        columns.append(Column(f"low_{interval.level:g}", "9.4f", lambda score: interval.ends(score)[0]))
        columns.append(Column(f"high_{interval.level:g}", "9.4f", lambda score: interval.ends(score)[1]))
    if opinions:
        columns += [Column("grade", ">9", opinions.grade), Column("percentile", "10.0f", opinions.percentile)]
    return columns
