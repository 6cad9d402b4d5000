"""Predictions of images by regressors that had not seen them: metrics, agreement with observers, and as a CSV."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import stats

from datasets.opinions.scores import OpinionScores
from datasets.opinions.tables import read_csv, write_csv
from learning.regression.evaluate.metrics import fit_mapping, metrics_of, srcc
from learning.regression.model.description import Metrics, ObserverSpread
from networks.errors import UserError
from networks.opinion_mapping import OpinionMapping

N_SIMULATIONS = 200
"""Of the raters in two halves."""


@dataclass(frozen=True)
class HeldOut:
    """The test-part predictions of every split.

    ``mos`` is (n,); ``predictions`` is (splits, n), NaN where a split did not test on an image. ``groups`` is (n,), or
    None where every image is a group of its own.
    """

    mos: np.ndarray
    predictions: np.ndarray
    images: list[str] = field(default_factory=list)
    groups: np.ndarray | None = None

    def labelled(self, scores: OpinionScores) -> HeldOut:
        """The predictions of the first rows, which are those of ``scores``; no split tested on the other rows."""
        first = self.predictions[:, : len(scores)]
        return HeldOut(scores.mos, first, scores.images, scores.groups)

    def parts(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rows, predictions and opinions of the test part of every split, (m,) each."""
        tested = [np.flatnonzero(~np.isnan(predictions)) for predictions in self.predictions]
        return [(rows, of_split[rows], self.mos[rows]) for rows, of_split in zip(tested, self.predictions, strict=True)]

    @property
    def tested(self) -> np.ndarray:
        """Rows of the images that at least one split tested on."""
        return np.flatnonzero(~np.isnan(self.predictions).all(axis=0))

    @cached_property
    def mappings(self) -> list[OpinionMapping]:
        """The logistic that was fitted to the test part of every split."""
        return [fit_mapping(predicted, mos) for _, predicted, mos in self.parts()]

    @cached_property
    def metrics(self) -> list[Metrics]:
        """The metrics on the test part of every split."""
        parts = zip(self.parts(), self.mappings, strict=True)
        return [metrics_of(predicted, mos, mapping) for (_, predicted, mos), mapping in parts]

    def quartiles(self, metric: str) -> list[float]:
        """Lowest value, lower quartile, median, upper quartile and highest value of one of METRICS over the splits."""
        values = [getattr(of_split, metric) for of_split in self.metrics]
        return np.percentile(values, (0, 25, 50, 75, 100)).tolist()

    def median(self, metric: str) -> float:
        """The median of one of METRICS over the test parts of the splits."""
        return self.quartiles(metric)[2]

    @cached_property
    def mapped_splits(self) -> np.ndarray:
        """(splits, n) predictions on the opinions' scale; NaN where a split did not test on an image.

        Each split's predictions are mapped by its own logistic, as for PLCC and RMSE, since the scale of the
        predictions depends on the split's penalty.
        """
        return np.stack([mapping(split) for mapping, split in zip(self.mappings, self.predictions, strict=True)])

    @cached_property
    def mapped(self) -> np.ndarray:
        """(n,) predictions on the opinions' scale, the mean over the splits; NaN where an image was not tested."""
        means = np.full(len(self.mos), np.nan)
        means[self.tested] = np.nanmean(self.mapped_splits[:, self.tested], axis=0)
        return means


def observer_spread(held_out: HeldOut, std: np.ndarray, n_raters: np.ndarray) -> ObserverSpread:
    """The observers' agreement, and that of held-out predictions after the logistic with them (ITU-T P.1401, 2020).

    ``std`` and ``n_raters``, which is at least 2, are (n,), of all images.
    """
    tested = held_out.tested
    mos, std, n_raters = held_out.mos[tested], std[tested], n_raters[tested]
    errors = np.abs(held_out.mapped[tested] - mos)
    half_widths = stats.t.ppf(0.975, n_raters - 1) * std / np.sqrt(n_raters)  # of 95 % confidence intervals of opinions
    excess = np.maximum(0, errors - half_widths)
    return ObserverSpread(
        mean_std=float(std.mean()),
        mean_raters=float(n_raters.mean()),
        ceiling=srcc_ceiling(mos, std, n_raters),
        outlier_ratio=float(np.mean(errors > half_widths)),  # 7.5.2.2
        # 7.7, rmse*: the 4 parameters of the logistic are subtracted from the number of images.
        rmse_epsilon=float(np.sqrt(np.sum(excess**2) / max(1, len(mos) - 4))),
    )


def srcc_ceiling(mos: np.ndarray, std: np.ndarray, n_raters: np.ndarray, seed: int = 0) -> float:
    """Median SRCC between the means of two halves of raters, simulated as normal around ``mos``.

    ``mos`` holds the sampling error of the real raters, which spreads it; so the ceiling is slightly too high.
    """
    rng = np.random.default_rng(seed)
    error = std / np.sqrt(n_raters / 2)
    first, second = mos + error * rng.standard_normal((2, N_SIMULATIONS, len(mos)))
    return float(np.median([float(srcc(a, b)) for a, b in zip(first, second, strict=True)]))


def held_out_file(path: Path) -> Path:
    """The path of the held-out predictions of the regressor at ``path``."""
    return path.with_suffix(".held_out.csv")


def write_held_out(path: Path, held_out: HeldOut) -> None:
    """Writes a row per image: image, mos, group, and the prediction of every split, empty where it was not tested."""
    columns: dict[str, Iterable[str]] = {"image": held_out.images, "mos": map(repr, held_out.mos.tolist())}
    columns["group"] = [""] * len(held_out.images) if held_out.groups is None else held_out.groups
    for number, predictions in enumerate(held_out.predictions.tolist(), start=1):
        columns[f"split_{number}"] = ("" if np.isnan(value) else repr(value) for value in predictions)
    write_csv(path, list(columns), zip(*columns.values(), strict=True))


def read_held_out(path: Path) -> HeldOut:
    """Reads what ``write_held_out`` wrote; UserError where the file is missing or damaged."""
    table = read_csv(path, ("image",), "held-out predictions")
    splits = [column for column in table if str(column).startswith("split_")]
    missing = {"image", "mos", "group"} - set(table)
    if missing or not splits:
        raise UserError(f"held-out predictions {path} have no column '{min(missing, default='split_1')}'")
    try:
        mos = table["mos"].to_numpy(np.float64)
        predictions = table[splits].replace("", "nan").to_numpy(np.float64).T
    except (TypeError, ValueError) as error:
        raise UserError(f"held-out predictions {path} are damaged: {error}") from None
    groups = None if (table["group"] == "").all() else table["group"].to_numpy(object)
    return HeldOut(mos, predictions, table["image"].tolist(), groups)
