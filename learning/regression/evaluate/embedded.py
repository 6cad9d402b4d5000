"""The embedded models on the images of a regressor's evaluation: is the regressor better than they are?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np

from common import log
from datasets.images.lists import ListedImage
from learning.regression.evaluate.held_out import HeldOut, held_out_file, read_held_out
from learning.regression.evaluate.metrics import plcc
from learning.regression.fit.labelled_features import LabelledFeatures
from learning.regression.model.description import RegressorDescription
from networks.embedded import MODELS
from networks.errors import UserError
from networks.names import EMBEDDED_MODELS
from networks.regressor import WEIGHTS_SUFFIX, Regressor, load_regressor
from options.images import ComputeOptions, PredictionOptions

SAME_OPINIONS = 0.99
"""Images of equal names are the same ones if their opinions in two tables correlate at least like this."""


@dataclass(frozen=True)
class EmbeddedModel:
    """An embedded model's (n,) ``scores`` of the images with opinions; it was fitted on ``n_fitted`` of these."""

    name: str
    scores: np.ndarray
    n_fitted: int

    def on_test_parts_of(self, own: HeldOut) -> HeldOut:
        """The scores as predictions of the images that each split of ``own`` tested on."""
        return replace(own, predictions=np.where(np.isnan(own.predictions), np.nan, self.scores))


def embedded_models(data: LabelledFeatures, pictures: Mapping[str, Path] | None) -> list[EmbeddedModel]:
    """The embedded models whose encoders computed the features, or the default one, which scores the ``pictures``.

    ``pictures`` is image -> file. Raises UserError where one is missing or cannot be read. Warns where a model was
    fitted on some of the images.
    """
    images, models = data.scores.images, []
    for path in (MODELS / name for name in EMBEDDED_MODELS):
        if not path.with_suffix(WEIGHTS_SUFFIX).is_file():
            continue
        regressor = load_regressor(path, RegressorDescription)
        if data.files.encoders == regressor.description.encoders:
            scores = regressor.predict(data.features[: len(images)])
        elif pictures is not None and path.name == EMBEDDED_MODELS[0]:
            scores = _scores_of_files(images, pictures, path, regressor)
        else:
            continue
        n_fitted = _n_of_the_fit(regressor.description, path, data)
        models.append(EmbeddedModel(path.name, scores, n_fitted))
        if n_fitted:
            log.warning(
                f"the embedded model {path.name} was fitted on {n_fitted:,d} of these {len(images):,d} images, so the "
                "comparison favours it"
            )
    return models


def _scores_of_files(
    images: Sequence[str], pictures: Mapping[str, Path], path: Path, regressor: Regressor[RegressorDescription]
) -> np.ndarray:
    """(n,) scores of the image files by the embedded model at ``path``."""
    from learning.regression.model.predict import score_images  # imports torch

    missing = [image for image in images if image not in pictures]
    if missing:
        raise UserError(
            f"--compare_embedded: {len(missing):,d} image files were not found, {missing[0]} among them; name their "
            "folder by --images"
        )
    listed = [ListedImage(str(pictures[image]), image) for image in images]
    options = PredictionOptions(input=(), compute=ComputeOptions(max_side=regressor.description.max_side))
    scores, summary = score_images(listed, regressor, path, options)
    if summary.failed:
        raise UserError(f"--compare_embedded: {summary.failed[0]}")
    return np.array([scores[image] for image in images])


def _n_of_the_fit(description: RegressorDescription, path: Path, data: LabelledFeatures) -> int:
    """How many of the images the embedded model at ``path`` was fitted on, by the content of their files.

    Copies of CLIVE differ in format. So where no content is the same, images are told by their names and opinions.
    """
    n_same = sum(map(description.was_fitted_on, data.file_digests[: len(data.scores)]))
    if n_same or not held_out_file(path).is_file():
        return n_same
    fit = read_held_out(held_out_file(path))
    opinions = dict(zip(map(_stem, fit.images), fit.mos, strict=True))
    own = zip(map(_stem, data.scores.images), data.scores.mos, strict=True)
    both = np.array([(mos, opinions[stem]) for stem, mos in own if stem in opinions])
    return len(both) if len(both) > 2 and plcc(*both.T) > SAME_OPINIONS else 0


def _stem(image: str) -> str:
    return PurePath(image).stem.lower()
