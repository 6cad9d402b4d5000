"""Sharpness and contrast of KADID-10k."""

import functools

import cv2
import numpy as np

from datasets.distortions.lab import rgb_to_roots, root_of_lightness, roots_to_rgb, shift_lightness
from datasets.distortions.registry import distortion
from datasets.distortions.tone import UNIT_VALUES, apply_curve


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
