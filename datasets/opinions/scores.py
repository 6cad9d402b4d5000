"""Opinion scores of images: one table, whichever file or database they come from."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from datasets.images.lists import PATH_COLUMNS
from datasets.opinions.label_files import read_labels
from datasets.opinions.tables import frame, visible
from networks.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Name of a part of an official split in label files -> its name here."""


OPTIONAL_TEXTS = ("group", "split")
"""Columns of a table of scores that hold text and may be missing."""


@dataclass(frozen=True)
class OpinionScores:
    """A table with the columns image, mos, group, split, std and n_raters; one row per image.

    ``image`` is the path as the label file gives it. ``mos`` is float64; higher is better. Images of one ``group``
    (a reference image, a scene) must be on the same side of a split. ``split`` is train, validation or test.
    ``std`` is the standard deviation of the single ratings of an image, in units of ``mos``, and ``n_raters`` their
    number. ``std`` and ``n_raters`` are NaN and the other optional columns None where the data set has none.
    ``inversion`` is a sentence on how scores were inverted in which lower is better; it is empty where none were.
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
        return None if self.table["group"].isna().all() else self._every_group()

    def _every_group(self) -> np.ndarray:
        rows = zip(self.images, self.table["group"], strict=True)
        return np.array([f"image {image}" if group is None else group for image, group in rows], object)

    @property
    def official_split(self) -> np.ndarray | None:
        """(n,) of train, validation and test, or None."""
        return None if self.table["split"].isna().all() else self.table["split"].to_numpy(object)

    @property
    def std(self) -> np.ndarray | None:
        """(n,) standard deviation of each image's ratings, float64, or None."""
        return self._numbers("std")

    @property
    def n_raters(self) -> np.ndarray | None:
        """(n,) number of each image's ratings, float64, at least 2, or None."""
        return self._numbers("n_raters")

    def _numbers(self, column: str) -> np.ndarray | None:
        values = self.table[column].to_numpy(np.float64)
        return None if np.isnan(values).any() else values

    def rows(self, keep: Sequence[int] | np.ndarray) -> OpinionScores:
        """Only the rows at these positions, in this order."""
        table = self.table.iloc[np.asarray(keep, np.intp)].reset_index(drop=True)
        return OpinionScores(table, self.source, self.inversion)


def score_table(
    images: Iterable[str],
    mos: ArrayLike,
    groups: Iterable[str | None] | None = None,
    splits: Iterable[str | None] | None = None,
    std: ArrayLike | None = None,
    n_raters: ArrayLike | None = None,
) -> pd.DataFrame:
    """The table of an ``OpinionScores`` from its columns, (n,) each."""
    images = list(images)
    texts = {"group": groups, "split": splits}
    numbers = {"mos": mos, "std": std, "n_raters": n_raters}
    given = {name: [None] * len(images) if column is None else list(column) for name, column in texts.items()}
    table = frame({"image": images, **given})
    for name, values in numbers.items():
        table[name] = np.nan if values is None else np.asarray(values, np.float64)
    return table


def read_scores(csv_path: str | os.PathLike, lower_is_better: bool = False) -> OpinionScores:
    """A table with the columns image (or Image_path) and mos, optionally group, split, std and n_raters.

    ``lower_is_better`` (difference scores) inverts the sign. Raises UserError as ``read_labels`` does, and with the
    line for an unknown part of a split.
    """
    where = f"scores {os.fspath(csv_path)}"
    table = read_labels(
        csv_path, PATH_COLUMNS, "mos", std="std", n_raters="n_raters", what="scores", optional=OPTIONAL_TEXTS
    )
    columns = score_table(
        table["image"],
        -table["mos"] if lower_is_better else table["mos"],
        groups=_read_labels(table["group"]) if "group" in table else None,
        splits=read_splits(table["split"], where) if "split" in table else None,
        std=table["std"],
        n_raters=table["n_raters"],
    )
    inversion = "The signs of the scores are inverted, since lower is better in the file." if lower_is_better else ""
    return OpinionScores(columns, str(csv_path), inversion)


def _read_labels(column: pd.Series) -> list[str | None]:
    """Names in one Unicode form, without blanks around them; None for an empty cell."""
    return [unicodedata.normalize("NFC", name.strip()) or None for name in column]


def read_splits(column: pd.Series, where: str) -> list[str]:
    """The parts of an official split, as SPLIT_NAMES calls them; UserError, with the line, for an unknown part."""
    names = column.str.strip().str.lower()
    unknown = names[~names.isin(SPLIT_NAMES)]
    if len(unknown):
        line = unknown.index[0]
        raise UserError(f"{where}, line {line}: split {visible(column[line])} is not one of train, validation, test")
    return [SPLIT_NAMES[name] for name in names]


def identical_images(digests: Sequence[str | None]) -> list[list[int]]:
    """Positions of images with the same content, one list for each content that occurs twice or more.

    ``digests`` (n,) are of the files or of their pixels; None where a digest is not known.
    """
    positions: dict[str, list[int]] = {}
    for position, digest in enumerate(digests):
        if digest is not None:
            positions.setdefault(digest, []).append(position)
    return [same for same in positions.values() if len(same) > 1]


def identical_across(
    digests: Sequence[str | None], first: Iterable[int], second: Iterable[int]
) -> list[tuple[int, int]]:
    """Pairs of positions with the same content, of which one is in part ``first`` of a split and one in ``second``."""
    in_first, in_second = set(map(int, first)), set(map(int, second))
    return [
        (one, other)
        for same in identical_images(digests)
        for one in same
        for other in same
        if one in in_first and other in in_second
    ]


def with_identical_grouped(scores: OpinionScores, digests: Sequence[str | None]) -> OpinionScores:
    """The scores with images of the same content in one group, so that no split parts them.

    ``digests`` (n,) belong to the rows of ``scores``; None where a digest is not known. Groups that share a content
    become one group, under the name of the first of them.
    """
    identical = identical_images(digests)
    if not identical:
        return scores
    groups = scores._every_group()
    merged_into: dict[str, str] = {}

    def final(group: str) -> str:
        while group in merged_into:
            group = merged_into[group]
        return group

    for same in identical:
        first = final(groups[same[0]])
        for position in same[1:]:
            group = final(groups[position])
            if group != first:
                merged_into[group] = first
    table = scores.table.assign(group=np.array([final(group) for group in groups], object))
    return OpinionScores(table, scores.source, scores.inversion)
