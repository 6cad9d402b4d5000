"""Scores of images in memory, as predict_quality.py scores files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from datasets.images.lists import FileStamp
from datasets.images.resampling import half_size_exactly
from learning.extraction.compute import compute_features
from learning.extraction.decoding import DecodedImage, UnreadableImage
from learning.regression.model.predict import ModelFiles, matching_extractors, score_features
from networks.features import FeatureExtractor
from networks.regressor import Regressor, ScoringDescription, load_regressor
from options.features import ComputeOptions

NO_FILE = FileStamp(0, 0, 0, "")
"""The stamp of an image that is in memory only."""


@dataclass(frozen=True)
class PixelScorer:
    """Scores images in memory as predict_quality.py scores files."""

    regressor: Regressor
    extractors: Mapping[str, FeatureExtractor]
    batch_size: int

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(n,) scores of uint8 (H, W, 3) images; UserError where one does not fit into memory."""
        scores = np.empty(len(images))
        decoded = (
            DecodedImage(index, str(index), image, half_size_exactly(image), NO_FILE)
            for index, image in enumerate(images)
        )
        for result in compute_features(decoded, self.extractors, self.batch_size):
            if isinstance(result, UnreadableImage):
                raise UserError(result.reason)
            scores[result.index] = score_features(result, self.regressor)
        return scores


def load_pixel_scorer(model: ModelFiles, compute: ComputeOptions) -> PixelScorer:
    """The scorer of a regressor and its encoders; UserError where they do not belong together."""
    regressor = load_regressor(model.regressor, ScoringDescription)
    extractors = matching_extractors(regressor, model.encoders, compute)
    return PixelScorer(regressor, extractors, compute.batch_size)
