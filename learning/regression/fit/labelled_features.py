"""Opinion scores and features of the same images: matched, checked, and which images are identical.

Images count as identical if their files are byte for byte the same, by the digest recorded when their features were
computed, or if all their features are: the same pixels in two files give the same features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import DBSCAN
from sklearn.preprocessing import StandardScaler

from common import log
from datasets.features.reading import FeatureFiles
from datasets.opinions.databases import read_database
from datasets.opinions.scores import OpinionScores, joined, read_scores, with_identical_grouped
from networks.errors import UserError
from networks.names import CONTENT_AWARE, GIVEN, max_side_of
from options.regressor import RegressorOptions

FEWEST_FEATURES = 16
"""With fewer features, equal ones do not prove equal images."""


@dataclass(frozen=True)
class LabelledFeatures:
    """Opinions and ``features``, (n + m, values of all kinds) float32, which are from ``files``.

    The first n rows are those of ``scores``, the last m those of ``only_train``, the images of ``--also_train``.
    ``file_digests`` are the SHA-256 of the images' files, None where the features do not record it. ``contents``
    (n + m,) are equal for identical images.
    """

    scores: OpinionScores
    only_train: OpinionScores | None
    features: np.ndarray
    files: FeatureFiles
    file_digests: Sequence[str | None]
    contents: np.ndarray

    @property
    def images(self) -> list[str]:
        """The names of all n + m images."""
        return self.scores.images + ([] if self.only_train is None else self.only_train.images)

    @property
    def mos(self) -> np.ndarray:
        """(n + m,) opinions."""
        return np.concatenate([one.mos for one in (self.scores, self.only_train) if one is not None])


def read_data(options: RegressorOptions) -> LabelledFeatures:
    """Scores and features; UserError where they do not belong together or hold nothing to learn."""
    if options.scores is not None:
        scores = read_scores(options.scores, options.lower_is_better)
    else:
        assert options.database is not None, "one of --scores and --database is required"
        scores = read_database(options.database, options.labels_folder)
    files = FeatureFiles(options.features, options.kinds)
    if len({max_side_of(encoder) for encoder in files.encoders.values()}) > 1:
        raise UserError(f"features {files.source}: the two kinds have a different --max_side; use one kind (--kind)")
    scores, names = with_features(scores, files, options.skip_missing)
    only_train = None
    if options.also_train is not None:
        only_train = read_scores(options.also_train, options.lower_is_better)
        if only_train.official_split is not None:
            log.warning(f"the column split of {only_train.source} is not used: all its images train in every split")
        only_train, others = with_features(only_train, files, options.skip_missing)
        names = names + others
    unused = len(files.names) - len(names)
    if unused:
        log.warning(f"{unused:,d} images have features but no score and are not used")
    if scores.mos.min() == scores.mos.max():
        raise UserError(f"all scores of {scores.source} are {scores.mos[0]:g}; there is nothing to learn from them")
    features = files.read(names)
    file_digests = files.file_digests(names)
    contents = joined(joined(np.arange(len(names)), file_digests), feature_digests(features))
    if only_train is not None:
        _check_only_train(scores, only_train, names, contents)
    if options.group_identical:
        scores = _grouped_by_content(scores, contents[: len(scores)], "identical")
    if options.group_similar is not None:
        content = FeatureFiles(options.features, [CONTENT_AWARE]).read(names[: len(scores)])
        scores = _grouped_by_content(scores, similar_images(content, options.group_similar), "similar")

    lowest, highest = scores.mos.min(), scores.mos.max()
    log.info(f"scores     {scores.source}: {len(scores):,d} images, {lowest:g} to {highest:g}, higher is better")
    if scores.inversion:
        log.info(f"           {scores.inversion}")
    kinds = "of another program" if files.kinds == [GIVEN] else " and ".join(files.kinds)
    log.info(f"features   {kinds}, {features.shape[1]} values, from {files.source}")
    unknown = [kind for kind in files.kinds if kind != GIVEN and not files.encoders[kind]]
    if unknown:
        log.warning(f"the encoder of the {' and '.join(unknown)} features is unknown: no encoder.json beside them")
    return LabelledFeatures(scores, only_train, features, files, file_digests, contents)


def with_features(
    scores: OpinionScores, files: FeatureFiles, skip_missing: bool = False
) -> tuple[OpinionScores, list[str]]:
    """The scored images that have features, and the names of these; UserError where some have none, unless skipped."""
    matched = files.match(scores.images)
    missing = [image for image in scores.images if image not in matched]
    if len(missing) == len(scores):
        raise UserError(
            f"no image of {scores.source} has features in {files.source}; the table lists {missing[0]}, and the "
            f"features include {files.names[0]}"
        )
    if missing and not skip_missing:
        raise UserError(
            f"{len(missing):,d} of {len(scores):,d} images of {scores.source} have no features in {files.source}, "
            f"{', '.join(missing[:3])} among them; compute them, or leave these images out (--skip_missing)"
        )
    if missing:
        log.warning(f"{len(missing):,d} images of {scores.source} have no features and are left out")
    kept = scores.rows([row for row, image in enumerate(scores.images) if image in matched])
    return kept, [matched[image] for image in kept.images]


def _check_only_train(scores: OpinionScores, only_train: OpinionScores, names: list[str], contents: np.ndarray) -> None:
    """UserError where an image, or a group, of ``only_train`` is tested on as well, or where the scales differ.

    ``names`` are those of the features of all images, which the tables may call by different paths, and ``contents``
    are theirs. A group of ``only_train`` may also be the name of a scored photograph, of which its images are versions.
    """
    n, table = len(scores), f"--also_train {only_train.source}"
    groups, other_groups = (set() if one.groups is None else set(one.groups) for one in (scores, only_train))
    shared_images = set(names[:n]) & set(names[n:]) | other_groups & (set(names[:n]) | set(scores.images))
    for what, shared in (("image", shared_images), ("group", groups & other_groups)):
        if shared:
            raise UserError(
                f"{table}: {what} {min(shared)} is in {scores.source} as well; its images train in every split, so no "
                "split may test on the same image or group"
            )
    (low, high), (other_low, other_high) = ((one.mos.min(), one.mos.max()) for one in (scores, only_train))
    if other_low > high or other_high < low:
        raise UserError(
            f"{table}: its scores are from {other_low:g} to {other_high:g}, those of {scores.source} from {low:g} to "
            f"{high:g}; both must be on the same scale"
        )
    identical = np.flatnonzero(np.isin(contents[n:], contents[:n]))
    if identical.size:
        one = int(np.flatnonzero(contents == contents[n + identical[0]])[0])
        raise UserError(
            f"{table}: image {only_train.images[identical[0]]} is identical to {scores.images[one]} of "
            f"{scores.source}, on which a split would test; leave it out of one table"
        )


def feature_digests(features: np.ndarray) -> list[str]:
    """A digest of each image's features (n, p); none where they are fewer than ``FEWEST_FEATURES``."""
    if features.shape[1] < FEWEST_FEATURES:
        return []
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in features]


def similar_images(features: np.ndarray, similarity: float) -> np.ndarray:
    """The number of each image's set of similar ones, as (n,).

    Two images are similar if the cosine of their standardised ``features`` (n, p) is at least ``similarity``. Sets with
    a common image are one.
    """
    standardised = StandardScaler().fit_transform(features)
    return DBSCAN(max(1 - similarity, 1e-6), min_samples=1, metric="cosine").fit_predict(standardised)


def _grouped_by_content(scores: OpinionScores, contents: np.ndarray, which: str) -> OpinionScores:
    """The scores with the images of one content in one group; prints how many groups that leaves."""
    grouped = with_identical_grouped(scores, contents.tolist())
    if grouped is not scores:
        n_groups = len(set(grouped.every_group()))
        log.info(f"groups     {which} images share one: {n_groups} groups of {len(scores)} images")
    return grouped
