"""Opinion scores of images: one table, whichever file or database they come from."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.images.lists import PATH_COLUMNS
from datasets.opinions.label_files import read_labels

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class OpinionScores:
    """A table with the columns image and mos, and optionally group, split, std and n_raters; one row per image.

    ``image`` is the path as the label file gives it. ``mos`` is float64; higher is better. Images of one ``group``
    (a reference image, a scene) must be on the same side of a split. ``split`` is train, validation or test.
    ``std`` is the standard deviation of the single ratings of an image, in units of ``mos``, and ``n_raters`` their
    number. ``inversion`` is a sentence on how scores were inverted in which lower is better; empty where none were.
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

    def _optional(self, column: str) -> np.ndarray | None:
        """(n,) of a column, or None where it is not there or empty."""
        values = self.table.get(column)
        return None if values is None or values.isna().all() else values.to_numpy(object)

    @property
    def groups(self) -> np.ndarray | None:
        """(n,) ``every_group``, or None where there are no groups."""
        return None if self._optional("group") is None else self.every_group()

    def every_group(self) -> np.ndarray:
        """(n,) group of each image; an image without a group is a group of its own."""
        rows = zip(self.images, self.table.get("group", [None] * len(self)), strict=True)
        return np.array([f"image {image}" if group is None else group for image, group in rows], object)

    @property
    def official_split(self) -> np.ndarray | None:
        """(n,) of train, validation and test, or None."""
        return self._optional("split")

    @property
    def std(self) -> np.ndarray | None:
        """(n,) standard deviation of each image's ratings, float64, or None."""
        return None if (values := self._optional("std")) is None else values.astype(np.float64)

    @property
    def n_raters(self) -> np.ndarray | None:
        """(n,) number of each image's ratings, float64, at least 2, or None."""
        return None if (values := self._optional("n_raters")) is None else values.astype(np.float64)

    def rows(self, keep: Sequence[int] | np.ndarray) -> OpinionScores:
        """Only the rows at these positions, in this order."""
        table = self.table.iloc[np.asarray(keep, np.intp)].reset_index(drop=True)
        return OpinionScores(table, self.source, self.inversion)


def read_scores(csv_path: str | os.PathLike, lower_is_better: bool = False) -> OpinionScores:
    """A table with the columns image (or Image_path) and mos, optionally group, split, std and n_raters.

    ``lower_is_better`` (difference scores) inverts the sign. Raises UserError as ``read_labels`` does.
    """
    names = ("group", "split", "std", "n_raters")
    table = read_labels(csv_path, PATH_COLUMNS, "mos", *names, what="scores", optional=True).reset_index(drop=True)
    if not lower_is_better:
        return OpinionScores(table, str(csv_path))
    inversion = "The signs of the scores are inverted, since lower is better in the file."
    return OpinionScores(table.assign(mos=-table["mos"]), str(csv_path), inversion)


def joined(sets: np.ndarray, names: Sequence[Hashable]) -> np.ndarray:
    """The set of each image (n,), after sets with images of one name are joined, under the first one's name.

    ``names`` are (n,), or none; an image without a name has None.
    """
    found, first = sets.copy(), dict[Hashable, int]()
    for row, name in enumerate(names):
        start = first.setdefault(name, row)
        if name is not None and found[row] != found[start]:
            found[found == found[row]] = found[start]
    return found


def with_identical_grouped(scores: OpinionScores, contents: Sequence[Hashable]) -> OpinionScores:
    """The scores with images of the same content in one group, so that no split parts them.

    ``contents`` (n,) are digests of the files, for example; None where one is not known. Groups that share a content
    become one group, under the name of the first of them.
    """
    before = scores.every_group()
    groups = joined(before, contents)
    if (groups == before).all():
        return scores
    return OpinionScores(scores.table.assign(group=groups), scores.source, scores.inversion)
