"""The description of a regressor: what it was made from, how it was evaluated, and how good it is. Kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from datasets.feature_files import KINDS
from learning.regression.evaluation import METRICS, Evaluation, Spread
from learning.regression.metrics import OpinionMapping, read_mapping
from learning.regression.search import Hyperparameters

PACKAGES = ("numpy", "scikit-learn", "skops")
"""Packages whose versions a regressor records."""


@dataclass(frozen=True)
class SplitSummary:
    """Metrics on the test part of one split; PLCC and RMSE after a ``mapping`` of this kind."""

    srcc: float
    plcc: float
    krcc: float
    rmse: float
    mapping: str


@dataclass(frozen=True)
class RegressorDescription:
    """Everything that is recorded beside a fitted pipeline.

    ``kinds`` are the kinds of features, side by side in this order; ``encoders`` maps each kind to the fingerprint of
    its encoder, or None where that is unknown. ``calibration`` maps the pipeline's predictions to the scale of the
    opinions, which lie in ``score_range``. ``inversion`` says how scores were inverted (lower is better). The rest
    is empty or None where the file does not have it.
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
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    splits: tuple[SplitSummary, ...] = ()
    srcc_chosen_within_each_split: float | None = None
    n_images: int | None = None

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
            "figures": {metric: asdict(spread) for metric, spread in self.spreads.items()},
            "figures_per_split": [asdict(split) for split in self.splits],
            "srcc_chosen_within_each_split": self.srcc_chosen_within_each_split,
            "n_images": self.n_images,
            "score_range": list(self.score_range),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RegressorDescription:
        """Reads what ``to_json`` wrote, also in earlier versions of this program, which wrote fewer keys.

        Raises ValueError, KeyError or TypeError where a key that a prediction needs is missing or makes no sense.
        """
        kinds, encoders = tuple(content["kinds"]), dict(content["encoders"])
        if not kinds or tuple(kind for kind in KINDS if kind in kinds) != kinds:
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
            spreads={metric: Spread(**spread) for metric, spread in content.get("figures", {}).items()},
            splits=tuple(SplitSummary(**split) for split in content.get("figures_per_split", ())),
            srcc_chosen_within_each_split=content.get("srcc_chosen_within_each_split"),
            n_images=content.get("n_images"),
        )


@dataclass(frozen=True)
class Sources:
    """Where features and scores of a regressor come from, and how the images were split, for its description."""

    kinds: tuple[str, ...]
    encoders: Mapping[str, str | None]
    scores: str
    inversion: str
    protocol: str
    note: str


def describe(evaluation: Evaluation, mos: np.ndarray, sources: Sources) -> RegressorDescription:
    """The description of the regressor that ``evaluation`` fitted to the opinions ``mos`` (n,)."""
    return RegressorDescription(
        kinds=sources.kinds,
        encoders=sources.encoders,
        calibration=evaluation.calibration(mos),
        score_range=(float(mos.min()), float(mos.max())),
        versions={name: version(name) for name in PACKAGES},
        scores=sources.scores,
        note=sources.note,
        inversion=sources.inversion,
        protocol=sources.protocol,
        hyperparameters=evaluation.hyperparameters,
        validation_srcc=float(evaluation.search.median.max()),
        spreads={metric: evaluation.spread(metric) for metric in METRICS},
        splits=tuple(
            SplitSummary(metrics.srcc, metrics.plcc, metrics.krcc, metrics.rmse, metrics.mapping.kind)
            for metrics in evaluation.metrics
        ),
        srcc_chosen_within_each_split=Spread.of([one.metrics.srcc for one in evaluation.chosen_within]).median,
        n_images=len(mos),
    )
