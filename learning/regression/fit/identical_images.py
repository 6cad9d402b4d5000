"""Identical images of a table, on both sides of a split or in one group.

Images count as identical if their files are byte for byte the same, by the digest recorded when their features were
computed, or if all their features are: the same pixels in two files give the same features.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from common import log
from datasets.opinions.scores import OpinionScores, identical_across, with_identical_grouped
from learning.regression.fit.splits import Split

FEWEST_FEATURES = 16
"""With fewer features, equal ones do not prove equal images."""

Digests = Sequence[Sequence[str | None]]
"""For each kind of evidence, a digest per image; None where there is none."""


def digests_of(file_digests: Sequence[str | None], features: np.ndarray) -> Digests:
    """Digests of the images' files, as recorded, and of their features (n, p)."""
    of_features = feature_digests(features)
    return [file_digests, of_features] if of_features else [file_digests]


def feature_digests(features: np.ndarray) -> list[str]:
    """A digest of each image's features (n, p); none where they are fewer than ``FEWEST_FEATURES``."""
    if features.shape[1] < FEWEST_FEATURES:
        return []
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in features]


def grouped_by_content(scores: OpinionScores, digests: Digests) -> OpinionScores:
    """The scores with identical images in one group; prints how many groups that leaves."""
    grouped = scores
    for of_kind in digests:
        grouped = with_identical_grouped(grouped, of_kind)
    if grouped is not scores and grouped.groups is not None:
        log.info(f"groups     identical images share one: {len(set(grouped.groups))} groups of {len(scores)} images")
    return grouped


def warn_of_identical_parts(images: Sequence[str], splits: Sequence[Split], digests: Digests) -> None:
    """Warns where an image of one part of a split is identical to an image of another part."""
    n_splits = Counter[tuple[int, int]]()  # of a pair of images
    for split in splits:
        n_splits.update(
            {
                (min(pair), max(pair))
                for of_kind in digests
                for first, second in combinations(split.parts().values(), 2)
                for pair in identical_across(of_kind, first, second)
            }
        )
    if n_splits:
        one, other = min(n_splits, key=lambda pair: (-n_splits[pair], pair))
        log.warning(
            f"{len(n_splits):,d} pairs of identical images are on both sides of a split: {images[one]} and "
            f"{images[other]} in {n_splits[one, other]} of {len(splits)} splits; --group_identical keeps them together"
        )
