"""Brightness changes of KADID-10k: brighten, darken, mean shift."""

import functools

import cv2
import numpy as np

from datasets.distortions.lab import (
    ROOT_UNIT,
    ROOT_ZERO,
    rgb_to_roots,
    root_of_lightness,
    roots_to_rgb,
    shift_lightness,
)
from datasets.distortions.registry import distortion, piece_by_piece
from datasets.distortions.tone import UNIT_VALUES, apply_curve, look_up


def quadratic_curve(x: np.ndarray, lift: float) -> np.ndarray:
    """The parabola through (0, 0), (0.5, 0.5 + lift / 2), (1, 1), clipped to [0, 1]."""
    return np.clip(x + 2 * lift * x * (1 - x), 0, 1)


@functools.lru_cache
def _lightness_table(lift: float) -> np.ndarray:
    """The quadratic curve of L* / 100 as a table from stored root to stored root; uint16 (65536,)."""
    lightness = 116 * (np.arange(65536) - ROOT_ZERO) / ROOT_UNIT - 16
    return np.rint(root_of_lightness(100 * quadratic_curve(lightness / 100, lift))).astype(np.uint16)


@distortion(levels=(0.1, 0.2, 0.4, 0.7, 1.1), selective=True)
@piece_by_piece
def brighten(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Quadratic tone curve on RGB and on L*; the result is 2/3 RGB and 1/3 L* (KADID-10k #16)."""
    roots = rgb_to_roots(image)
    lightness = cv2.extractChannel(roots, 1)
    on_lightness = roots_to_rgb(shift_lightness(roots, lightness, look_up(_lightness_table(amount), lightness)))
    on_rgb = apply_curve(image, quadratic_curve(UNIT_VALUES, amount))
    return cv2.addWeighted(on_rgb, 2 / 3, on_lightness, 1 / 3, 0)


@distortion(levels=(0.05, 0.1, 0.2, 0.4, 0.8))
def darken(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Quadratic tone curve through (0, 0), (0.5, 0.5 - amount / 2), (1, 1) on every channel (KADID-10k #17)."""
    return apply_curve(image, quadratic_curve(UNIT_VALUES, -amount))


@distortion(levels=(0.15, 0.08, 0, -0.08, -0.15), ordered=False)
def mean_shift(image: np.ndarray, shift: float, rng: np.random.Generator) -> np.ndarray:
    """``shift``, on [0, 1], added to every value (KADID-10k #18)."""
    # OpenCV would add a single number to the first channel only.
    return cv2.add(image, (round(255 * shift),) * 4)  # type: ignore[call-overload]  # its stubs leave out scalars
