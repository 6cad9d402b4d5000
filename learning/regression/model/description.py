"""The description of a regressor: what it was made from, how it was evaluated, and how good it is. Kept as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from common.names import GIVEN, KINDS
from learning.regression.evaluate.conformal import PredictionIntervals
from learning.regression.evaluate.mappings import OpinionMapping, read_mapping
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

if TYPE_CHECKING:
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
        return cls({metric: held_out.spread(metric) for metric in METRICS}, tuple(held_out.metrics))

    def to_json(self) -> dict[str, Any]:
        return {
            "figures": {metric: asdict(spread) for metric, spread in self.spreads.items()},
            "figures_per_split": [asdict(split) for split in self.splits],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ResultsSummary:
        return cls(
            {metric: Spread(**spread) for metric, spread in content.get("figures", {}).items()},
            tuple(Metrics(**split) for split in content.get("figures_per_split", ())),
        )


@dataclass(frozen=True)
class BootstrapIntervals:
    """Intervals of the metrics of all held-out predictions, from ``n_resamples`` resamples of the groups."""

    metrics: Mapping[str, Interval]
    n_resamples: int
    seed: int
    confidence: float = CONFIDENCE

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BootstrapIntervals:
        metrics = {metric: Interval(**interval) for metric, interval in content["metrics"].items()}
        return cls(metrics, content["n_resamples"], content["seed"], content["confidence"])


@dataclass(frozen=True)
class RegressorDescription:
    """Everything that is recorded beside a fitted pipeline.

    ``kinds`` are the kinds of features, side by side in this order; ``encoders`` maps each kind to the fingerprint of
    its encoder, or None where that is unknown. ``calibration`` maps the pipeline's predictions to the scale of the
    opinions, which lie in ``score_range``. ``inversion`` says how scores in which lower is better were inverted.
    ``choice`` is the choice of hyper-parameters (``shared`` or ``nested``) that is reported first, and the one of the
    ``intervals``. A field is empty or None where the file does not have it.
    """

    kinds: tuple[str, ...]
    encoders: Mapping[str, str | None]
    calibration: OpinionMapping
    score_range: tuple[float, float]
    versions: Mapping[str, str] = field(default_factory=dict)
    scores: str = ""
    note: str = ""
    inversion: str = ""
    protocol: str = ""
    hyperparameters: Hyperparameters | None = None
    validation_srcc: float | None = None
    shared: ResultsSummary = field(default_factory=ResultsSummary)
    srcc_chosen_within_each_split: float | None = None
    n_images: int | None = None
    choice: str = "shared"
    nested: ResultsSummary | None = None
    intervals: BootstrapIntervals | None = None
    prediction_intervals: PredictionIntervals | None = None
    observers: ObserverSpread | None = None
    breakdown: Breakdown | None = None

    @property
    def reported(self) -> ResultsSummary:
        """The results of the choice that is reported first."""
        return self.nested if self.choice == "nested" and self.nested else self.shared

    def to_json(self) -> dict[str, Any]:
        """The content of the JSON file, in the order of its keys."""
        return {
            "kinds": list(self.kinds),
            "encoders": dict(self.encoders),
            "versions": dict(self.versions),
            "scores": self.scores,
            "note": self.note,
            "turned": self.inversion,
            "protocol": self.protocol,
            "hyperparameters": asdict(self.hyperparameters) if self.hyperparameters else None,
            "calibration": asdict(self.calibration),
            "validation_srcc": self.validation_srcc,
            **self.shared.to_json(),
            "srcc_chosen_within_each_split": self.srcc_chosen_within_each_split,
            "n_images": self.n_images,
            "score_range": list(self.score_range),
            "choice": self.choice,
            "nested": self.nested.to_json() if self.nested else None,
            "intervals": asdict(self.intervals) if self.intervals else None,
            "prediction_intervals": asdict(self.prediction_intervals) if self.prediction_intervals else None,
            "observers": asdict(self.observers) if self.observers else None,
            **(asdict(self.breakdown) if self.breakdown else {}),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RegressorDescription:
        """Reads what ``to_json`` wrote, also in earlier versions of this program, which wrote fewer keys.

        Raises ValueError, KeyError or TypeError where a key that a prediction needs is missing or makes no sense.
        """
        kinds, encoders = tuple(content["kinds"]), dict(content["encoders"])
        if kinds != (GIVEN,) and (not kinds or tuple(kind for kind in KINDS if kind in kinds) != kinds):
            raise ValueError(f"kinds {list(kinds)}")
        if not all(isinstance(encoder, str | None) for encoder in encoders.values()):
            raise ValueError(f"encoders {encoders}")
        if np.isfinite(np.array(content["score_range"], np.float64)).tolist() != [True, True]:
            raise ValueError(f"score_range {content['score_range']}")
        lowest, highest = content["score_range"]
        hyperparameters = content.get("hyperparameters")
        return cls(
            kinds=kinds,
            encoders=encoders,
            calibration=read_mapping(**content["calibration"]),
            score_range=(lowest, highest),
            versions=dict(content.get("versions", {})),
            scores=str(content.get("scores", "")),
            note=str(content.get("note", "")),
            inversion=str(content.get("turned", "")),
            protocol=str(content.get("protocol", "")),
            hyperparameters=Hyperparameters(**hyperparameters) if hyperparameters else None,
            validation_srcc=content.get("validation_srcc"),
            shared=ResultsSummary.from_json(content),
            srcc_chosen_within_each_split=content.get("srcc_chosen_within_each_split"),
            n_images=content.get("n_images"),
            choice=content.get("choice", "shared"),
            nested=_optional(ResultsSummary.from_json, content.get("nested")),
            intervals=_optional(BootstrapIntervals.from_json, content.get("intervals")),
            prediction_intervals=_optional(_read_prediction_intervals, content.get("prediction_intervals")),
            observers=_optional(lambda found: ObserverSpread(**found), content.get("observers")),
            breakdown=Breakdown.from_json(content) if "per_kind" in content else None,
        )


T = TypeVar("T")


def _optional(read: Callable[[Mapping[str, Any]], T], content: Mapping[str, Any] | None) -> T | None:
    """What ``read`` makes of ``content``; None where an earlier version of this program did not write it."""
    return read(content) if content else None


def _read_prediction_intervals(content: Mapping[str, Any]) -> PredictionIntervals:
    levels, half_widths = tuple(content["levels"]), tuple(content["half_widths"])
    if len(levels) != len(half_widths) or not np.isfinite(np.array([levels, half_widths], np.float64)).all():
        raise ValueError(f"prediction_intervals {content}")
    return PredictionIntervals(levels, half_widths, content["coverage"])


@dataclass(frozen=True)
class Sources:
    """Where features and scores of a regressor come from, and how the images were split, for its description."""

    kinds: tuple[str, ...]
    encoders: Mapping[str, str | None]
    scores: str
    inversion: str
    protocol: str
    note: str


def describe(
    evaluation: Evaluation,
    mos: np.ndarray,
    sources: Sources,
    intervals: BootstrapIntervals | None = None,
    observers: ObserverSpread | None = None,
    by_distortion: Breakdown | None = None,
) -> RegressorDescription:
    """The description of the regressor that ``evaluation`` fitted to the opinions ``mos`` (n,)."""
    return RegressorDescription(
        kinds=sources.kinds,
        encoders=sources.encoders,
        calibration=evaluation.calibration,
        score_range=(float(mos.min()), float(mos.max())),
        versions={name: version(name) for name in PACKAGES},
        scores=sources.scores,
        note=sources.note,
        inversion=sources.inversion,
        protocol=sources.protocol,
        hyperparameters=evaluation.hyperparameters,
        validation_srcc=float(evaluation.search.median.max()),
        shared=ResultsSummary.of(evaluation.shared),
        srcc_chosen_within_each_split=evaluation.nested.spread("srcc").median,
        n_images=len(mos),
        choice=evaluation.choice,
        nested=ResultsSummary.of(evaluation.nested),
        intervals=intervals,
        prediction_intervals=evaluation.prediction_intervals,
        observers=observers,
        breakdown=by_distortion,
    )
