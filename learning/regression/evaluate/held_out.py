"""Predictions of images by regressors that had not seen them, in memory and as a CSV beside the regressor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from datasets.opinions.tables import read_csv, write_csv
from learning.regression.evaluate.metrics import fit_mapping


@dataclass(frozen=True)
class TestPart:
    """The images that a split tested on: their ``rows`` in the table, predictions (n,) and opinions (n,)."""

    __test__ = False  # not a test of pytest's

    rows: np.ndarray
    predicted: np.ndarray
    mos: np.ndarray


@dataclass(frozen=True)
class HeldOut:
    """The test-part predictions of every split.

    ``predictions`` is (splits, n), NaN where a split did not test on an image; ``mos`` is (n,); ``groups`` is (n,), or
    None where every image is a group of its own. ``kinds`` and ``levels`` of distortion are (n,) text, None for an
    image without one, or None where no image has one.
    """

    images: list[str]
    mos: np.ndarray
    groups: np.ndarray | None
    predictions: np.ndarray
    kinds: np.ndarray | None = None
    levels: np.ndarray | None = None

    def parts(self) -> list[TestPart]:
        """The test part of every split."""
        rows_of_splits = [np.flatnonzero(~np.isnan(predictions)) for predictions in self.predictions]
        return [
            TestPart(rows, predictions[rows], self.mos[rows])
            for rows, predictions in zip(rows_of_splits, self.predictions, strict=True)
        ]

    def mapped(self, n_parameters: int = 4) -> np.ndarray:
        """(n,) predictions on the opinions' scale, the mean over the splits; NaN where an image was not tested."""
        mapped = self.mapped_splits(n_parameters)
        means = np.full(len(self.images), np.nan)
        means[self.tested] = np.nanmean(mapped[:, self.tested], axis=0)
        return means

    def mapped_splits(self, n_parameters: int = 4) -> np.ndarray:
        """(splits, n) predictions on the opinions' scale; NaN where a split did not test on an image.

        Each split's predictions are mapped by the logistic fitted to its test part, as for PLCC and RMSE, since the
        scale of the predictions depends on the split's penalty.
        """
        mapped = np.full(self.predictions.shape, np.nan)
        for row, part in zip(mapped, self.parts(), strict=True):
            row[part.rows] = fit_mapping(part.predicted, part.mos, n_parameters)(part.predicted)
        return mapped

    @property
    def tested(self) -> np.ndarray:
        """Rows of the images that at least one split tested on."""
        return np.flatnonzero(~np.isnan(self.predictions).all(axis=0))


def held_out_file(path: Path) -> Path:
    """The path of the held-out predictions of the regressor at ``path``."""
    return path.with_suffix(".held_out.csv")


def write_held_out(path: Path, held_out: HeldOut) -> None:
    """Writes a row per image: image, mos, group, and the prediction of every split, empty where it was not tested.

    The columns kind and level follow the group where the database has them.
    """
    n_splits = len(held_out.predictions)
    optional = {"kind": held_out.kinds, "level": held_out.levels}
    known = {name: values for name, values in optional.items() if values is not None}
    columns = ("image", "mos", "group", *known, *(f"split_{number}" for number in range(1, n_splits + 1)))
    groups = [""] * len(held_out.images) if held_out.groups is None else held_out.groups
    rows = (
        (
            image,
            repr(float(mos)),
            group,
            *(label or "" for label in labels),
            *("" if np.isnan(value) else repr(float(value)) for value in of_image),
        )
        for image, mos, group, labels, of_image in zip(
            held_out.images,
            held_out.mos,
            groups,
            zip(*known.values(), strict=True) if known else [()] * len(held_out.images),
            held_out.predictions.T,
            strict=True,
        )
    )
    write_csv(path, columns, rows)


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
    kinds, levels = (
        table[name].where(table[name] != "", None).to_numpy(object) if name in table else None
        for name in ("kind", "level")
    )
    return HeldOut(table["image"].tolist(), mos, groups, predictions, kinds, levels)
