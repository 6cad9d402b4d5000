"""The description of a regressor: what it was made from, how it was evaluated, and how good it is. Kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.typed_json import read_dataclass
from learning.regression.evaluate.conformal import PredictionIntervals
from learning.regression.evaluate.results import (
    CONFIDENCE,
    METRICS,
    Breakdown,
    Interval,
    Metrics,
    ObserverSpread,
    Spread,
)
from learning.regression.fit.settings import Hyperparameters
from networks.regressor import FORMER_FORMAT, ScoringDescription, load_description

if TYPE_CHECKING:
    from datasets.opinions.scores import OpinionScores
    from learning.regression.evaluate.held_out import HeldOut
    from learning.regression.evaluate.protocol import Evaluation

PACKAGES = ("numpy", "scikit-learn", "skops")
"""Packages whose versions a regressor records."""


@dataclass(frozen=True)
class ResultsSummary:
    """Spread of every metric over the splits, and the metrics on each split."""

    spreads: Mapping[str, Spread] = field(default_factory=dict)
    splits: tuple[Metrics, ...] = ()

    @classmethod
    def of(cls, held_out: HeldOut) -> ResultsSummary:
        """The summary of held-out predictions."""
        return cls({metric: held_out.spread(metric) for metric in METRICS}, tuple(held_out.metrics))


@dataclass(frozen=True)
class BootstrapIntervals:
    """Intervals of the metrics of all held-out predictions, from ``n_resamples`` resamples of the groups."""

    metrics: Mapping[str, Interval]
    n_resamples: int
    seed: int
    confidence: float = CONFIDENCE


@dataclass(frozen=True)
class ScoreInterval:
    """The interval score +- ``half_width``, which holds an opinion with probability ``level``.

    ``coverage_at_90`` is the share of held-out opinions in their intervals at level 0.9, or None.
    """

    level: float
    half_width: float
    coverage_at_90: float | None

    def ends(self, score: float) -> tuple[float, float]:
        """The lower and the upper end around ``score``, on the opinions' scale."""
        return score - self.half_width, score + self.half_width

    def in_words(self) -> str:
        checked = self.coverage_at_90
        seen = f"; on held-out images the 90 % interval held {checked:.1%}" if checked is not None else ""
        return (
            f"{100 * self.level:g} % of the opinions on similar images lie between low and high: score +- "
            f"{self.half_width:.4g} (split conformal{seen})"
        )


@dataclass(frozen=True)
class RegressorDescription(ScoringDescription):
    """Everything that is recorded beside a fitted model.

    The opinions lie in ``score_range``. ``scores`` names their table, and ``inversion`` says how scores in which lower
    is better were inverted. ``choice`` is the choice of hyper-parameters (``shared`` or ``nested``) that is reported
    first, and the one of the ``intervals``. A field is empty or None where there is nothing to record, or where an
    earlier version of this program did not record it.
    """

    score_range: tuple[float, float]
    versions: Mapping[str, str] = field(default_factory=dict)
    scores: str = ""
    note: str = ""
    inversion: str = ""
    protocol: str = ""
    hyperparameters: Hyperparameters | None = None
    validation_srcc: float | None = None
    n_images: int | None = None
    choice: str = "shared"
    shared: ResultsSummary = field(default_factory=ResultsSummary)
    nested: ResultsSummary | None = None
    intervals: BootstrapIntervals | None = None
    prediction_intervals: PredictionIntervals | None = None
    observers: ObserverSpread | None = None
    breakdown: Breakdown | None = None

    @property
    def reported(self) -> ResultsSummary:
        """The results of the choice that is reported first."""
        return self.nested if self.choice == "nested" and self.nested else self.shared

    def score_interval(self, level: float) -> ScoreInterval:
        """The prediction interval at ``level`` (0.9: nine of ten opinions lie inside it).

        Raises UserError where the regressor does not record it.
        """
        intervals = self.prediction_intervals
        if intervals is None:
            raise UserError(
                "the regressor records no prediction intervals: an earlier version fitted it; fit it again with "
                "train_regressor.py"
            )
        try:
            return ScoreInterval(level, intervals.half_width(level), intervals.coverage)
        except ValueError as error:
            raise UserError(f"no prediction interval at level {level:g}: {error}") from None

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> RegressorDescription:
        return read_dataclass(cls, _renamed(content) if content.get("format") == FORMER_FORMAT else content)


def read_description(path: Path, held_out: Path | None = None) -> RegressorDescription:
    """The description alone, from its JSON file.

    Raises UserError where the file is missing, damaged or of another format, or where the predictions ``held_out`` were
    not written with it.
    """
    recorded = {"held_out_sha256": held_out} if held_out is not None and held_out.is_file() else {}
    return load_description(path, RegressorDescription, recorded)


def _renamed(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a file in FORMER_FORMAT, under the names of today's fields."""

    def results(of_choice: dict[str, Any]) -> dict[str, Any]:
        return {"spreads": of_choice.get("figures", {}), "splits": of_choice.get("figures_per_split", [])}

    return content | {
        "inversion": content.get("turned", ""),
        "shared": results(content),
        "nested": results(content["nested"]) if content.get("nested") else None,
        "breakdown": content if "per_kind" in content else None,
    }


def describe(
    evaluation: Evaluation,
    scores: OpinionScores,
    encoders: Mapping[str, str | None],
    protocol: str,
    note: str = "",
    intervals: BootstrapIntervals | None = None,
    observers: ObserverSpread | None = None,
    by_distortion: Breakdown | None = None,
) -> RegressorDescription:
    """The description of the regressor that ``evaluation`` fitted to ``scores``.

    ``encoders`` maps each kind of features to the identity of its encoder, or to None where that is unknown.
    ``protocol`` says how the images were split.
    """
    return RegressorDescription(
        kinds=tuple(encoders),
        encoders=encoders,
        calibration=evaluation.calibration,
        score_range=(float(scores.mos.min()), float(scores.mos.max())),
        versions={name: version(name) for name in PACKAGES},
        scores=scores.source,
        note=note,
        inversion=scores.inversion,
        protocol=protocol,
        hyperparameters=evaluation.hyperparameters,
        validation_srcc=float(evaluation.search.median.max()),
        n_images=len(scores),
        choice=evaluation.choice,
        shared=ResultsSummary.of(evaluation.shared),
        nested=ResultsSummary.of(evaluation.nested),
        intervals=intervals,
        prediction_intervals=evaluation.prediction_intervals,
        observers=observers,
        breakdown=by_distortion,
    )
