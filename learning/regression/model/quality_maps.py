"""Pictures of local quality: each photograph beside a heat map of the regressor's sum by place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from common import log
from common.atomic_files import whole_file
from datasets.images.lists import ListedImage
from networks.errors import UserError
from networks.images.reading import read_image, reduced
from networks.scorer import QualityScorer

MOST_PIXELS = 16_000_000
"""Of an image with a map: a ResNet-18 takes up to 190 bytes for each pixel (measured at 1 and 4 megapixels)."""

LONGEST_SIDE = 1024
"""Pixels of the photograph in the picture, which is reduced to fit; the map is computed at full size."""

SMOOTHING = 1 / 12
"""Standard deviation of the Gaussian that smooths a map, as a part of the map's short side."""

SATURATION = 0.98
"""Quantile of the absolute deviations from the mean that is drawn in the strongest colour."""

LOWER, HIGHER = np.array([202, 0, 32]), np.array([5, 113, 176])
"""RGB of places that lower and raise the score: the ends of ColorBrewer's RdBu, which colour-blind readers can tell."""


def write_maps(
    images: Sequence[ListedImage], scorer: QualityScorer, folder: Path, max_side: int | None = None
) -> tuple[dict[str, Path], list[str]]:
    """Writes the picture of each image, ``reduced`` as for its score: the photograph, and its map on the right half.

    Returns name -> picture, and a sentence for each image that has none.
    """
    maps, failed = {}, []
    for image in images:
        try:
            pixels = reduced(read_image(image.path), max_side)
            picture = draw_map(pixels, local_deviations(pixels, scorer))
        except UserError as error:
            failed.append(f"{image.path}: no map: {error}")
            log.error(failed[-1])
            continue
        maps[image.name] = folder / f"{image.name}.png"
        with whole_file(maps[image.name], durable=False) as path:
            Image.fromarray(picture).save(path)
    log.info(f"{len(maps):,d} maps written, {len(failed):,d} failed: {folder}")
    return maps, failed


def local_deviations(pixels: np.ndarray, scorer: QualityScorer) -> np.ndarray:
    """uint8 (H, W, 3) -> (h, w) smoothed local quality minus its mean: below 0 where a place lowers the score.

    See ``QualityScorer.local_quality``. Raises UserError for an image of more than ``MOST_PIXELS``.
    """
    n_pixels = pixels.shape[0] * pixels.shape[1]
    if n_pixels > MOST_PIXELS:
        raise UserError(f"{n_pixels:,d} pixels; maps are drawn for up to {MOST_PIXELS:,d}")
    images = torch.tensor(pixels).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        smoothed = smooth(scorer.local_quality(images)[0].numpy())
    return smoothed - smoothed.mean()


def smooth(values: np.ndarray) -> np.ndarray:
    """(h, w) -> (h, w) after a Gaussian; at the borders, the places inside are weighted up to a sum of 1."""
    sigma = max(SMOOTHING * min(values.shape), 0.5)
    inside = gaussian_filter(np.ones_like(values), sigma, mode="constant", truncate=3)
    return gaussian_filter(values, sigma, mode="constant", truncate=3) / inside


def draw_map(pixels: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) and (h, w) deviations -> uint8 picture: the photograph, and its grey version under the map.

    Red places lower the score, blue places raise it. The strongest colour is relative to this image, so colours of two
    images cannot be compared.
    """
    photograph = Image.fromarray(pixels)
    photograph.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    strongest = float(np.quantile(np.abs(deviations), SATURATION)) or 1.0
    coarse = Image.fromarray(np.clip(deviations / strongest, -1, 1).astype(np.float32))
    strength = np.asarray(coarse.resize(photograph.size, Image.Resampling.BILINEAR))[:, :, None]
    grey = np.asarray(photograph.convert("L"), dtype=np.float32)[:, :, None]
    opacity = 0.75 * np.abs(strength)
    mapped = (1 - opacity) * grey + opacity * np.where(strength < 0, LOWER, HIGHER)
    return np.concatenate([np.asarray(photograph), mapped.round().astype(np.uint8)], axis=1)
