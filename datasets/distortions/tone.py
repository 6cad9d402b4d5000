"""Brightness, contrast and sharpness of KADID-10k."""

import functools

import cv2
import numpy as np

from datasets.distortions.lab import (
    ROOT_UNIT,
    ROOT_ZERO,
    UNIT_VALUES,
    look_up,
    rgb_to_roots,
    root_of_lightness,
    roots_to_rgb,
    shift_lightness,
)
from datasets.distortions.registry import distortion, piece_by_piece


def apply_curve(image: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Maps every value of a uint8 image by ``curve``, (256,) on [0, 1], clipped and rounded to uint8."""
    return cv2.LUT(image, np.rint(255 * np.clip(curve, 0, 1)).astype(np.uint8))


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


@functools.lru_cache
def contrast_curve(change: float) -> np.ndarray:
    """Least-squares cubic through (0, 0) (.3, .25 - c/4) (.5, .5) (.7, .75 + c/4) (1, 1); float64 (256,)."""
    x = [0, 0.3, 0.5, 0.7, 1]
    y = [0, 0.25 - change / 4, 0.5, 0.75 + change / 4, 1]
    return np.polyval(np.polyfit(x, y, deg=3), UNIT_VALUES)


@distortion(levels=(0.3, 0.15, 0, -0.4, -0.6), ordered=False)
def contrast(image: np.ndarray, change: float, rng: np.random.Generator) -> np.ndarray:
    """Tone curve per channel; ``change`` > 0 raises the contrast of the middle tones, < 0 lowers it (KADID-10k #25)."""
    return apply_curve(image, contrast_curve(change))


@functools.lru_cache
def _sharpening_kernel(amount: float) -> np.ndarray:
    twice_central_difference = np.array([1, 0, -2, 0, 1]) / 4
    kernel = np.zeros((5, 5))
    kernel[2, :] += twice_central_difference
    kernel[:, 2] += twice_central_difference
    kernel *= -amount
    kernel[2, 2] += 1
    return kernel


@distortion(levels=(1, 2, 3, 6, 12), reach=lambda amount: 2)
def sharpen(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """L* - ``amount`` times its Laplacian, the sum of twice-applied central differences (KADID-10k #24)."""
    roots = rgb_to_roots(image)
    lightness = cv2.extractChannel(roots, 1)
    sharpened = cv2.filter2D(
        lightness.astype(np.float32), -1, _sharpening_kernel(amount), borderType=cv2.BORDER_REPLICATE
    )
    np.clip(sharpened, root_of_lightness(0), root_of_lightness(100), out=sharpened)
    return roots_to_rgb(shift_lightness(roots, lightness, sharpened.astype(np.uint16)))
