"""Opinion scores of images: one table, whichever file or database they come from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
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

    def _optional(self, column: str, kind: type = object) -> np.ndarray | None:
        """(n,) of a column, or None where it is not there or empty."""
        values = self.table.get(column)
        return None if values is None or values.isna().all() else values.to_numpy(kind)

    @property
    def groups(self) -> np.ndarray | None:
        """(n,) group of each image, or None; an image without a group is a group of its own."""
        return None if self._optional("group") is None else self._every_group()

    def _every_group(self) -> np.ndarray:
        rows = zip(self.images, self.table.get("group", [None] * len(self)), strict=True)
        return np.array([f"image {image}" if group is None else group for image, group in rows], object)

    @property
    def official_split(self) -> np.ndarray | None:
        """(n,) of train, validation and test, or None."""
        return self._optional("split")

    @property
    def std(self) -> np.ndarray | None:
        """(n,) standard deviation of each image's ratings, float64, or None."""
        return self._optional("std", np.float64)

    @property
    def n_raters(self) -> np.ndarray | None:
        """(n,) number of each image's ratings, float64, at least 2, or None."""
        return self._optional("n_raters", np.float64)

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


def identical_across(
    digests: Sequence[str | None], first: Iterable[int], second: Iterable[int]
) -> list[tuple[int, int]]:
    """Pairs of positions with the same content, of which one is in part ``first`` of a split and one in ``second``.

    ``digests`` (n,) are of the files or of their pixels; None where a digest is not known.
    """
    in_second: dict[str | None, list[int]] = {}
    for position in second:
        in_second.setdefault(digests[position], []).append(position)
    in_second.pop(None, None)
    return [(one, other) for one in first for other in in_second.get(digests[one], ())]


def with_identical_grouped(scores: OpinionScores, digests: Sequence[str | None]) -> OpinionScores:
    """The scores with images of the same content in one group, so that no split parts them.

    ``digests`` (n,) belong to the rows of ``scores``; None where a digest is not known. Groups that share a content
    become one group, under the name of the first of them.
    """
    groups = scores._every_group()
    first: dict[str, int] = {}
    for position, digest in enumerate(digests):
        if digest is not None:
            groups[groups == groups[position]] = groups[first.setdefault(digest, position)]
    if len(first) == sum(digest is not None for digest in digests):  # no content occurs twice
        return scores
    return OpinionScores(scores.table.assign(group=groups), scores.source, scores.inversion)
