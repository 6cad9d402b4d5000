"""Opinion scores of images: one table, whichever file or database they come from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from common.errors import UserError
from datasets.image_lists import PATH_COLUMNS
from datasets.tables import read_csv

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Name of a part of an official split in label files -> its name here."""


@dataclass(frozen=True)
class OpinionScores:
    """A table with the columns image, mos, group and split; one row per image.

    ``image`` is the path as the label file gives it. ``mos`` is float64; higher is better. Images of one ``group``
    (a reference image, a scene) must be on the same side of a split. ``split`` is train, validation or test.
    ``group`` and ``split`` are None where the data set has none. ``inversion`` is a sentence on how scores were
    inverted in which lower is better; it is empty where none were.
    """

    table: pd.DataFrame
    source: str
    inversion: str = ""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def images(self) -> list[str]:
        return self.table["image"].tolist()

    @property
    def mos(self) -> np.ndarray:
        return self.table["mos"].to_numpy(np.float64)

    @property
    def groups(self) -> np.ndarray | None:
        """(n,) group of each image, or None; an image without a group is a group of its own."""
        given = self.table["group"]
        if given.isna().all():
            return None
        own = pd.Series([f"image {image}" for image in self.images], index=given.index)
        return given.where(given.notna(), own).to_numpy(object)

    @property
    def official_split(self) -> np.ndarray | None:
        """(n,) of train, validation and test, or None."""
        return None if self.table["split"].isna().all() else self.table["split"].to_numpy(object)

    def rows(self, keep: Sequence[int] | np.ndarray) -> OpinionScores:
        """Only the rows at these positions, in this order."""
        table = self.table.iloc[np.asarray(keep, np.intp)].reset_index(drop=True)
        return OpinionScores(table, self.source, self.inversion)


def score_table(
    images: Iterable[str],
    mos: ArrayLike,
    groups: Iterable[str | None] | None = None,
    splits: Iterable[str | None] | None = None,
) -> pd.DataFrame:
    """The table of an ``OpinionScores`` from its columns, (n,) each."""
    images = list(images)
    return pd.DataFrame(
        {
            "image": pd.Series(images, dtype=object),
            "mos": np.asarray(mos, np.float64),
            "group": pd.Series([None] * len(images) if groups is None else list(groups), dtype=object),
            "split": pd.Series([None] * len(images) if splits is None else list(splits), dtype=object),
        }
    )


def read_numbers(column: pd.Series, where: str) -> np.ndarray:
    """A column of texts, indexed by line, as finite float64; UserError with the line of the first text that is not."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        line = column.index[wrong[0]]
        raise UserError(f"{where}, line {line}: the score {column.iloc[wrong[0]]!r} is not a number")
    return values


def check_unique(images: pd.Series, where: str) -> None:
    """UserError where an image has more than one row; ``images`` is indexed by line."""
    repeated = images[images.duplicated()]
    if len(repeated):
        first = images.index[images == repeated.iloc[0]][0]
        raise UserError(
            f"{where}, line {repeated.index[0]}: image {repeated.iloc[0]} has a score on line {first} already; "
            "give each image once, with its mean score"
        )


def read_scores(csv_path: str | os.PathLike, lower_is_better: bool = False) -> OpinionScores:
    """A CSV with the columns image (or Image_path) and mos, optionally group and split.

    ``lower_is_better`` (difference scores) inverts the sign. Raises UserError with the line for a score that is no
    number, an image listed twice, and an unknown part of a split.
    """
    where = f"scores {Path(csv_path)}"
    table = read_csv(csv_path, PATH_COLUMNS, "scores")
    if "mos" not in table:
        raise UserError(f"{where} has no column 'mos'; its columns are: {', '.join(map(str, table))}")
    images = table[next(name for name in PATH_COLUMNS if name in table)]
    if (images == "").any():
        raise UserError(f"{where}, line {images.index[images == ''][0]}: no image is named")
    check_unique(images, where)
    mos = read_numbers(table["mos"], where)
    groups = splits = None
    if "group" in table:
        groups = table["group"].where(table["group"] != "", None)
    if "split" in table:
        names = table["split"].str.strip().str.lower()
        unknown = names[~names.isin(SPLIT_NAMES)]
        if len(unknown):
            raise UserError(
                f"{where}, line {unknown.index[0]}: split {table['split'][unknown.index[0]]!r} is not one of "
                "train, validation, test"
            )
        splits = names.map(SPLIT_NAMES)
    inversion = "The signs of the scores are inverted, since lower is better in the file." if lower_is_better else ""
    table = score_table(images, -mos if lower_is_better else mos, groups, splits)
    return OpinionScores(table, str(csv_path), inversion)
