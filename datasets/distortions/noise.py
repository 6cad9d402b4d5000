"""Noises of KADID-10k.

Gaussian values come from a table of the normal distribution's 65,536 quantiles, indexed by random 16-bit numbers:
ten times faster than drawing them one by one, and the table can hold what each kind needs (rounded, scaled).
"""

import functools

import cv2
import numpy as np
from scipy.special import ndtri

from datasets.distortions.registry import distortion


@functools.lru_cache
def normal_quantiles() -> np.ndarray:
    """float64 (65536,), the standard normal's quantiles at (k + 0.5) / 65536: mean 0, variance 1 to 1e-4."""
    return ndtri((np.arange(65536) + 0.5) / 65536)


@functools.lru_cache(maxsize=64)
def _rounded_noise(sigma: float) -> np.ndarray:
    # x is whole, so x + round(n) is round(x + n): the sum needs no floating point.
    return np.rint(sigma * normal_quantiles()).astype(np.int16)


@functools.lru_cache(maxsize=64)
def _real_noise(sigma: float, mean: float = 0) -> np.ndarray:
    return (mean + sigma * normal_quantiles()).astype(np.float32)


def look_up_random(table: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Independent uniform draws from ``table``, (65536,), as an array of ``shape``."""
    count = int(np.prod(shape))
    words = rng.integers(0, 2**64, size=-(-count // 4), dtype=np.uint64)
    # Every 16-bit number is a valid index: "wrap" spares the check.
    return np.take(table, words.view(np.uint16)[:count], mode="wrap").reshape(shape)


@distortion(levels=(0.001, 0.002, 0.003, 0.005, 0.01))
def gaussian_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Additive Gaussian noise of that ``variance`` on [0, 1] (KADID-10k #11)."""
    noise = look_up_random(_rounded_noise(255 * variance**0.5), image.shape, rng)
    return cv2.add(image, noise, dtype=cv2.CV_8U)


YCBCR_FROM_RGB = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
"""ITU-R BT.601, studio range, both sides on [0, 1]; the offsets (16, 128, 128) / 255 do not matter to a difference."""

RGB_FROM_YCBCR = np.linalg.inv(YCBCR_FROM_RGB)


@distortion(levels=(0.0001, 0.0005, 0.001, 0.002, 0.003))
def color_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Additive Gaussian noise of that ``variance`` on [0, 1] in each plane of YCbCr (KADID-10k #12).

    The conversion is linear, so noise added there is the same noise, converted, added here.
    """
    noise = look_up_random(_real_noise(255 * variance**0.5), image.shape, rng)
    return cv2.add(image, cv2.transform(noise, RGB_FROM_YCBCR), dtype=cv2.CV_8U)


@distortion(levels=(0.001, 0.005, 0.01, 0.02, 0.03))
def impulse_noise(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """That ``share`` of the pixels turned black or white, half each (KADID-10k #13)."""
    noisy = image.copy()
    pixels = noisy.reshape(-1, 3)
    count = int(rng.binomial(len(pixels), share))
    hit = rng.choice(len(pixels), size=count, replace=False, shuffle=False)
    pixels[hit] = np.where(rng.integers(2, size=(count, 1), dtype=bool), np.uint8(255), np.uint8(0))
    return noisy


@distortion(levels=(0.001, 0.005, 0.01, 0.02, 0.05))
def multiplicative_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """x + x n on [0, 1], n Gaussian of that ``variance`` (KADID-10k #14)."""
    gain = look_up_random(_real_noise(variance**0.5, mean=1), image.shape, rng)
    return cv2.multiply(image, gain, dtype=cv2.CV_8U)


DENOISE_SIGMA = 3
DENOISE_BOX = 5


@distortion(levels=(0.001, 0.002, 0.003, 0.005, 0.01), reach=lambda variance: 3 * DENOISE_SIGMA + 1)
def denoise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of that ``variance``, then smoothed by a Gaussian or a box, at random (KADID-10k #15)."""
    noisy = gaussian_noise(image, variance, rng)
    if rng.integers(2):
        return cv2.GaussianBlur(noisy, (0, 0), DENOISE_SIGMA, borderType=cv2.BORDER_REPLICATE)
    return cv2.blur(noisy, (DENOISE_BOX, DENOISE_BOX), borderType=cv2.BORDER_REPLICATE)
