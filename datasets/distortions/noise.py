"""Noises of KADID-10k.

Drawing every Gaussian value anew would take longer than everything else. A noise is instead the weighted sum of two
runs, each from a random position of its own pool of normal numbers. No number occurs twice within a noise. There are
2^40 pairs of positions, so two noises of a training are practically never equal.
"""

import functools
import math

import cv2
import numpy as np

from datasets.distortions.blur import gaussian_blur
from datasets.distortions.registry import distortion

POOL_SIZE = 1 << 21
LONGEST_RUN = POOL_SIZE // 2


@functools.lru_cache
def _pools() -> np.ndarray:
    """Two pools of standard normal numbers, float32 (2, POOL_SIZE), the same in every process."""
    return np.random.default_rng(0).standard_normal((2, POOL_SIZE), np.float32)


def draw_gaussian(
    shape: tuple[int, ...], sigma: float, rng: np.random.Generator, mean: float = 0, dtype: int = cv2.CV_32F
) -> np.ndarray:
    """Independent Gaussian values of that ``mean`` and standard deviation, rounded to OpenCV's ``dtype``.

    More than LONGEST_RUN values (a million) are several noises one after the other.
    """
    count = math.prod(shape)
    noises = []
    for first in range(0, count, LONGEST_RUN):
        length = min(LONGEST_RUN, count - first)
        places = rng.integers(POOL_SIZE - length + 1, size=2)
        one, other = (pool[place : place + length] for pool, place in zip(_pools(), places, strict=True))
        noises.append(cv2.addWeighted(one, sigma * 0.5**0.5, other, sigma * 0.5**0.5, mean, dtype=dtype))
    noise = noises[0] if len(noises) == 1 else np.concatenate(noises)
    return noise.reshape(shape)


@distortion(levels=(0.001, 0.002, 0.003, 0.005, 0.01))
def gaussian_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Additive Gaussian noise of that ``variance`` on [0, 1] (KADID-10k #11)."""
    # x is an integer, so x + round(n) equals round(x + n).
    noise = draw_gaussian(image.shape, 255 * variance**0.5, rng, dtype=cv2.CV_16S)
    return cv2.add(image, noise, dtype=cv2.CV_8U)


YCBCR_FROM_RGB = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
"""ITU-R BT.601, studio range, both sides on [0, 1]; the offsets (16, 128, 128) / 255 cancel in a difference."""

RGB_FROM_YCBCR = np.linalg.inv(YCBCR_FROM_RGB)


@distortion(levels=(0.0001, 0.0005, 0.001, 0.002, 0.003))
def color_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Additive Gaussian noise of that ``variance`` on [0, 1] in each plane of YCbCr (KADID-10k #12).

    The conversion is linear, so noise added in YCbCr equals the converted noise added in RGB.
    """
    noise = draw_gaussian(image.shape, 255 * variance**0.5, rng)
    return cv2.add(image, cv2.transform(noise, RGB_FROM_YCBCR), dtype=cv2.CV_8U)


@distortion(levels=(0.001, 0.005, 0.01, 0.02, 0.03))
def impulse_noise(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Sets that ``share`` of the pixels to black or white with equal chance (KADID-10k #13)."""
    noisy = image.copy()
    pixels = noisy.reshape(-1, 3)
    count = int(rng.binomial(len(pixels), share))
    hit = rng.choice(len(pixels), size=count, replace=False, shuffle=False)
    pixels[hit] = np.where(rng.integers(2, size=(count, 1), dtype=bool), np.uint8(255), np.uint8(0))
    return noisy


@distortion(levels=(0.001, 0.005, 0.01, 0.02, 0.05))
def multiplicative_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """x + x n on [0, 1], n Gaussian of that ``variance`` (KADID-10k #14)."""
    gain = draw_gaussian(image.shape, variance**0.5, rng, mean=1)
    return cv2.multiply(image, gain, dtype=cv2.CV_8U)


DENOISE_SIGMA = 3
DENOISE_BOX = 5


@distortion(levels=(0.001, 0.002, 0.003, 0.005, 0.01), reach=lambda variance: 3 * DENOISE_SIGMA + 1)
def denoise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of that ``variance``, then smoothed by a Gaussian or a box, at random (KADID-10k #15)."""
    by_gaussian = rng.integers(2)
    noisy = gaussian_noise(image, variance, rng)
    if by_gaussian:
        return gaussian_blur(noisy, DENOISE_SIGMA, rng)
    return cv2.blur(noisy, (DENOISE_BOX, DENOISE_BOX), borderType=cv2.BORDER_REPLICATE)
