"""Splits of a database into the images that a regressor is trained, chosen and tested on.

Splits are random, come with the database, or are read from a CSV of another project, so that results can be compared
with published ones. The CSV has the form of pyiqa's meta-information: a row for each image (``img_name`` or
``dist_name``, or ``image``) and the columns ``official_split`` or ``ratio802_seed123_split_01``, ..., with train,
val and test. Where a column holds no test, as in ratio802 (80/0/20), its val is the test part, and an eighth of the
training groups is taken as the validation part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from common import log
from datasets.images.lists import match_names
from datasets.opinions.label_files import SPLIT_NAMES
from datasets.opinions.scores import OpinionScores
from datasets.opinions.tables import IMAGE, read_csv
from learning.regression.fit.labelled_features import LabelledFeatures
from networks.errors import UserError
from options.regressor import RegressorOptions

SMALLEST_PART = 3
"""Number of images; the rank correlation of two images is 1 or -1 whatever the predictions are."""

IMAGE_COLUMNS = ("image", "img_name", "dist_name", "image_name")
SPLIT_COLUMN = re.compile(r"official_split|.*_split_\d+")
VALIDATION_SHARE = 1 / 8


@dataclass(frozen=True)
class Split:
    """Positions of the images of each part; no image, and no group, is in two of them."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def train_and_validation(self) -> np.ndarray:
        """Positions of the images of both parts, (n,)."""
        return np.concatenate([self.train, self.validation])

    def parts(self) -> dict[str, np.ndarray]:
        """Name of a part -> positions of its images."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def make_splits(data: LabelledFeatures, options: RegressorOptions) -> tuple[list[Split], str]:
    """The splits, and how they were made in words; the images of ``--also_train`` are in all training parts."""
    scores, parts = data.scores, data.scores.official_split
    if options.splits == "official" and parts is None:
        raise UserError(f"{scores.source} has no official split; --splits random makes random splits")
    if options.splits_file is not None:
        splits = read_splits(options.splits_file, scores)
        made, of_which = f"{len(splits)} from {options.splits_file}", " in the first"
    elif parts is not None and options.splits != "random":
        splits = official_split(parts, scores.groups)
        made, of_which = "the official one", ""
    else:
        splits = random_splits(len(scores), scores.groups, options.n_splits, options.shares, options.seed)
        by_group = "" if scores.groups is None else f" by group ({len(set(scores.groups))} groups)"
        made, of_which = f"{len(splits)} random ones{by_group}, seed {options.seed}", " in the first"
    sizes = "/".join(str(len(part)) for part in splits[0].parts().values())
    protocol = f"{made}, {sizes} images for train/validation/test{of_which}"
    if data.only_train is not None:
        others = np.arange(len(scores), len(data.mos))
        splits = [Split(np.concatenate([one.train, others]), one.validation, one.test) for one in splits]
        protocol += f"; {len(others):,d} images of {data.only_train.source} train in every split"
    log.info(f"splits     {protocol}")
    _warn_of_identical_parts(data, splits)
    n_constant = sum(np.ptp(data.mos[split.test]) == 0 for split in splits)
    if n_constant:
        log.warning(f"all scores of the test part are equal in {n_constant} of {len(splits)} splits; their SRCC is 0")
    return splits, protocol


def _warn_of_identical_parts(data: LabelledFeatures, splits: Sequence[Split]) -> None:
    """Warns where an image of one part of a split is identical to an image of another part."""
    pairs = {
        (min(one, other), max(one, other))
        for split in splits
        for first, second in combinations(split.parts().values(), 2)
        for one in first[np.isin(data.contents[first], data.contents[second])]
        for other in second[data.contents[second] == data.contents[one]]
    }
    if pairs:
        one, other = min(pairs)
        log.warning(
            f"{len(pairs):,d} pairs of identical images are on both sides of a split: {data.images[one]} and "
            f"{data.images[other]} among them; --group_identical keeps them together"
        )


def group_numbers(groups: np.ndarray | None, n_images: int) -> np.ndarray:
    """The number of each image's group, (n_images,) from 0; without groups, every image is a group of its own."""
    return np.arange(n_images) if groups is None else np.unique(groups.astype(str), return_inverse=True)[1]


def random_splits(
    n_images: int, groups: np.ndarray | None, n_splits: int, shares: tuple[float, float, float], seed: int
) -> list[Split]:
    """``n_splits`` independent splits with about these shares of train, validation and test.

    With ``groups`` (n_images,), the shares are of groups, and all images of a group go into the same part. Raises
    UserError where there are too few images or groups for three parts.
    """
    kind = "images" if groups is None else "groups"
    groups = group_numbers(groups, n_images)
    n_groups = len(np.unique(groups))
    counts = [round(share / sum(shares) * n_groups) for share in shares[1:]]
    if min(counts) < 1 or n_groups - sum(counts) < 1:
        raise UserError(
            f"{n_groups} {kind} are too few to be split into train, validation and test "
            f"{'/'.join(f'{share:g}' for share in shares)}; "
            + ("more images are needed" if kind == "images" else "more groups are needed, or no column 'group'")
        )
    n_validation, n_test = counts
    splits = []
    everything = np.arange(n_images)
    for index in range(n_splits):
        # A generator for each split, so that the first ten of a hundred splits are those of ten.
        state = np.random.RandomState(np.random.SeedSequence((seed, index)).generate_state(1)[0])
        rest, test = next(GroupShuffleSplit(1, test_size=n_test, random_state=state).split(everything, groups=groups))
        chosen = GroupShuffleSplit(1, test_size=n_validation, random_state=state).split(rest, groups=groups[rest])
        train, validation = next(chosen)
        splits.append(Split(rest[train], rest[validation], test))
    return checked(splits)


def official_split(
    parts: np.ndarray, groups: np.ndarray | None = None, where: str = "the official split"
) -> list[Split]:
    """The split that comes with a database; ``parts`` (n,) holds train, validation and test.

    Where none is for validation, an eighth of the training groups is taken. Raises UserError, which names the split as
    ``where``, where one of ``groups`` is in two parts.
    """
    numbers = group_numbers(groups, len(parts))
    train, validation, test = (np.flatnonzero(parts == part) for part in ("train", "validation", "test"))
    for one, other in combinations((train, validation, test), 2):
        torn = np.flatnonzero(np.isin(numbers[one], numbers[other]))
        if groups is not None and torn.size:
            group = groups[one[torn[0]]]
            raise UserError(
                f"{where}: group {group} is in {parts[one[0]]} and {parts[other[0]]}. --splits random keeps groups "
                "together"
            )
    if train.size > 1 and test.size and not validation.size:
        shuffle = GroupShuffleSplit(1, test_size=VALIDATION_SHARE, random_state=0)
        rest, chosen = next(shuffle.split(train, groups=numbers[train]))
        train, validation = train[rest], train[chosen]
    return checked([Split(train, validation, test)])


def checked(splits: list[Split]) -> list[Split]:
    """The splits; UserError where a part is too small to be ranked."""
    for split in splits:
        for name, part in split.parts().items():
            if len(part) < SMALLEST_PART:
                raise UserError(
                    f"the {name} part of a split has {len(part)} images, and ranking needs at least {SMALLEST_PART}; "
                    "use more images, or give that part a larger share (train_regressor.py --shares)"
                )
    return splits


def read_splits(path: Path, scores: OpinionScores) -> list[Split]:
    """The splits in ``path``, as positions in ``scores``; UserError, naming an image, where they do not fit."""
    table = read_csv(path, IMAGE_COLUMNS, "splits")
    names = table[IMAGE].tolist()
    columns = [str(column) for column in table if SPLIT_COLUMN.fullmatch(str(column))]
    numbered = [column for column in columns if column != "official_split"] or columns
    if not numbered:
        raise UserError(f"splits {path} have no column official_split or ratio802_seed123_split_01")
    matched = match_names(scores.images, names, f"splits {path}")
    missing = next((image for image in scores.images if image not in matched), None)
    if missing is not None:
        raise UserError(f"splits {path} do not fit {scores.source}: they lack image {missing}")
    extra = sorted(set(names) - set(matched.values()), key=names.index)
    if extra:
        raise UserError(f"splits {path} do not fit {scores.source}: it lacks image {extra[0]}")
    rows = {name: row for row, name in enumerate(names)}
    order = [rows[matched[image]] for image in scores.images]
    splits = []
    for column in numbered:
        values = table[column].to_numpy(object)[order]
        parts = np.array([SPLIT_NAMES.get(str(value).strip().lower(), "") for value in values], object)
        where = f"splits {path}, column {column}"
        if "" in parts:
            row = parts.tolist().index("")
            raise UserError(
                f"{where}: image {scores.images[row]} is in {values[row]!r}, which is not one of train, val, test"
            )
        if "test" not in parts:
            parts[parts == "validation"] = "test"
        splits += official_split(parts, scores.groups, where)
    return splits
