"""Colour distortions of KADID-10k: diffusion, shift and two saturations."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from datasets.boxes import Box, disjoint
from datasets.distortions.blur import enlarge, reduced_blur
from datasets.distortions.lab import CHROMA, LIGHTNESS, rgb_to_roots, roots_to_rgb
from datasets.distortions.registry import WHOLE_IMAGE, distortion, piece_by_piece


def _diffusion_sigma(amount: float) -> float:
    return 1.5 * amount + 2


def _diffusion_reduction(amount: float) -> int:
    """By how much a plane is reduced before it is blurred: a power of 2, at least 2 and at most 3/8 of sigma."""
    return max(2, 2 ** int(math.log2(_diffusion_sigma(amount) * 3 / 8)))


def _diffusion_reach(amount: float) -> int:
    """Three sigma, where the kernel of the blur ends, and the margin of reducing and enlarging."""
    return math.ceil(3 * _diffusion_sigma(amount)) + 2 * _diffusion_reduction(amount)


@distortion(levels=(1, 3, 6, 8, 12), reach=_diffusion_reach, grid=_diffusion_reduction, selective=True)
def color_diffusion(image: np.ndarray, amount: float, rng: np.random.Generator, requested: Sequence[Box]) -> np.ndarray:
    """In CIELAB: a*, b* blurred with sigma 1.5 ``amount`` + 2 and multiplied by ``amount``; L* kept (KADID-10k #4).

    Outside the ``requested`` boxes the result may hold any values.
    """
    roots = rgb_to_roots(image)
    blurred = reduced_blur(roots, _diffusion_sigma(amount), _diffusion_reduction(amount))
    # a* and b* are differences to the root of Y.
    chroma = cv2.transform(blurred, amount * CHROMA).astype(np.int16)
    chroma = enlarge(chroma, image).view(np.uint16)
    diffused = np.empty_like(image)
    for box in disjoint(requested):
        # Chroma is signed: the sum modulo 2^16 is right for negative values, too.
        moved = np.add(cv2.transform(box.cut(roots), LIGHTNESS), box.cut(chroma))
        box.cut(diffused)[...] = roots_to_rgb(moved)
    return diffused


def _rescale_to_unit(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def edge_mask(image: np.ndarray) -> np.ndarray:
    """Strength of the edge at each pixel, float32 (H, W) in [0, 1]; 0 where the image is flat.

    Gradient magnitude of luma, blurred (sigma 4), scaled to 0..1, clipped below 0.1, rescaled, clipped at its 1st
    and 99th percentile, rescaled. Everything after the gradient is computed at half resolution: the blur removes all
    finer detail.
    """
    luma = cv2.copyMakeBorder(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    beside = cv2.absdiff(luma[1:-1, 2:], luma[1:-1, :-2])
    below = cv2.absdiff(luma[2:, 1:-1], luma[:-2, 1:-1])
    twice_gradient = cv2.magnitude(beside.astype(np.float32), below.astype(np.float32))
    mask = _rescale_to_unit(reduced_blur(twice_gradient, sigma=4, reduction=2))
    mask = _rescale_to_unit(np.maximum(mask, np.float32(0.1)))
    # The mask is smooth: every 16th value has nearly the same percentiles.
    low, high = np.percentile(mask[::4, ::4], (1, 99)).astype(np.float32)
    return enlarge(_rescale_to_unit(np.clip(mask, low, high)), image)


def shift_plane(plane: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """``plane``, (H, W), moved right by ``dx`` and down by ``dy`` pixels, edges replicated."""
    height, width = plane.shape
    padded = cv2.copyMakeBorder(
        plane, max(dy, 0), max(-dy, 0), max(dx, 0), max(-dx, 0), borderType=cv2.BORDER_REPLICATE
    )
    return padded[max(-dy, 0) :, max(-dx, 0) :][:height, :width]


@distortion(levels=(1, 3, 6, 8, 12), reach=lambda amount: WHOLE_IMAGE, selective=True)
def color_shift(image: np.ndarray, amount: float, rng: np.random.Generator, requested: Sequence[Box]) -> np.ndarray:
    """Green moved ``amount`` pixels in a random direction, blended in at edges (KADID-10k #5).

    Outside the ``requested`` boxes the result may hold any values.
    """
    angle = rng.uniform(0, 2 * math.pi)
    green = np.ascontiguousarray(image[..., 1])
    shifted = shift_plane(green, round(amount * math.cos(angle)), round(amount * math.sin(angle)))
    mask = edge_mask(image)
    shifted_image = image.copy()
    for box in disjoint(requested):
        difference = cv2.subtract(box.cut(shifted), box.cut(green), dtype=cv2.CV_32F)
        change = cv2.multiply(box.cut(mask), difference)
        box.cut(shifted_image)[..., 1] = cv2.add(box.cut(green), change, dtype=cv2.CV_8U)
    return shifted_image


@distortion(levels=(0.4, 0.2, 0.1, 0, -0.4))
def saturation_hsv(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """HSV saturation times ``factor``: V - factor (V - rgb), V the largest channel (KADID-10k #7)."""
    red, green, blue = cv2.split(image)
    value = cv2.max(cv2.max(red, green), blue)
    return cv2.addWeighted(cv2.merge((value, value, value)), 1 - factor, image, factor, 0)


@distortion(levels=(1, 2, 3, 6, 9), selective=True)
@piece_by_piece
def saturation_lab(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """a* and b* times ``factor`` in CIELAB, L* kept (KADID-10k #8)."""
    return roots_to_rgb(cv2.transform(rgb_to_roots(image), LIGHTNESS + factor * CHROMA))
