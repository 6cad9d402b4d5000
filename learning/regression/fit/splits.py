"""Splits of a database into the images that a regressor is trained, chosen and tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from common.errors import UserError

SMALLEST_PART = 3
"""Number of images; the rank correlation of two images is 1 or -1 whatever the predictions are."""


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


def official_split(parts: np.ndarray, groups: np.ndarray | None = None) -> list[Split]:
    """The split that comes with a database; ``parts`` (n,) holds train, validation and test.

    Raises UserError where one of ``groups`` is in two parts.
    """
    parts_of: dict[object, object] = {}
    for group, part in zip(() if groups is None else groups, parts, strict=False):
        if parts_of.setdefault(group, part) != part:
            raise UserError(
                f"group {group} is in two parts of the official split, {parts_of[group]} and {part}; "
                "--splits random keeps groups together"
            )
    return checked([Split(*(np.flatnonzero(parts == part) for part in ("train", "validation", "test")))])


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
