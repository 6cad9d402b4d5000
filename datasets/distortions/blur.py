"""Blurs of KADID-10k: Gaussian, lens and motion."""

import functools
import math

import cv2
import numpy as np

from datasets.distortions.registry import distortion


def reduce(image: np.ndarray, reduction: int) -> np.ndarray:
    """``image``, (H, W, ...), ``reduction`` times smaller, each pixel the mean of the pixels that it replaces."""
    height, width = image.shape[:2]
    small = (max(1, round(width / reduction)), max(1, round(height / reduction)))
    return cv2.resize(image, small, interpolation=cv2.INTER_AREA)


def enlarge(reduced: np.ndarray, image: np.ndarray) -> np.ndarray:
    """``reduced`` at the height and width of ``image``."""
    height, width = image.shape[:2]
    return cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)


def added_variance(reduction: int) -> float:
    """Variance in pixels squared that ``reduce`` (r^2 - 1) / 12 and ``enlarge`` (about r^2 / 6) add together."""
    return (reduction**2 - 1) / 4


def reduced_blur(image: np.ndarray, sigma: float, reduction: int) -> np.ndarray:
    """Gaussian of ``sigma`` pixels on (H, W, ...), ``reduction`` times smaller; ``enlarge`` restores the size."""
    reduced = reduce(image, reduction)
    if reduced.dtype == np.uint16:  # OpenCV blurs float32 three times as fast
        reduced = reduced.astype(np.float32)
    remaining = math.sqrt(sigma**2 - added_variance(reduction)) / reduction
    taps = 2 * math.ceil(3 * remaining) + 1  # OpenCV's choice for uint8; its choice for float32 is a third larger
    return cv2.GaussianBlur(reduced, (taps, taps), remaining, borderType=cv2.BORDER_REPLICATE)


LARGEST_DIRECT_SIGMA = 2


@distortion(
    levels=(0.1, 0.5, 1, 2, 5),
    reach=lambda sigma: math.ceil(3 * sigma) + 4,
    grid=lambda sigma: 1 if sigma <= LARGEST_DIRECT_SIGMA else 2,
)
def gaussian_blur(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian of standard deviation ``sigma`` pixels, edges replicated (KADID-10k #1); wide ones at half size."""
    if sigma <= LARGEST_DIRECT_SIGMA:
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return enlarge(reduced_blur(image, sigma, 2), image)


@functools.lru_cache
def disk_kernel(radius: float) -> np.ndarray:
    """Disk of ``radius`` pixels: each tap the share of its pixel that the disk covers; float32, sum 1."""
    reach = math.ceil(radius - 0.5)
    subpixels = 32
    axis = (np.arange((2 * reach + 1) * subpixels) + 0.5) / subpixels - 0.5 - reach
    inside = axis[:, None] ** 2 + axis**2 <= radius**2
    taps = 2 * reach + 1
    coverage = inside.reshape(taps, subpixels, taps, subpixels).mean((1, 3))
    return (coverage / coverage.sum()).astype(np.float32)


LARGEST_DIRECT_RADIUS = 2


@distortion(
    levels=(1, 2, 4, 6, 8),
    reach=lambda radius: math.ceil(radius) + 2,
    grid=lambda radius: 1 if radius <= LARGEST_DIRECT_RADIUS else 2,
)
def lens_blur(image: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Disk kernel of ``radius`` pixels with an anti-aliased rim, edges replicated (KADID-10k #2).

    Large ones are computed at half size. Halving adds some variance; the disk there supplies the rest, where a disk has
    a quarter of its squared radius.
    """
    if radius <= LARGEST_DIRECT_RADIUS:
        return cv2.filter2D(image, -1, disk_kernel(radius), borderType=cv2.BORDER_REPLICATE)
    remaining = math.sqrt(radius**2 - 4 * added_variance(2)) / 2
    blurred = cv2.filter2D(reduce(image, 2), -1, disk_kernel(remaining), borderType=cv2.BORDER_REPLICATE)
    return enlarge(blurred, image)


def line_kernel(length: float) -> np.ndarray:
    """Straight line of ``length`` pixels, (taps,), sum 1; its ends may cover a part of the outermost taps."""
    reach = math.ceil((length - 1) / 2)
    covered = np.clip(length / 2 + 0.5 - np.abs(np.arange(-reach, reach + 1)), 0, 1)
    return (covered / length).astype(np.float32)


@distortion(levels=(12, 16, 20, 24, 28), reach=lambda length: math.ceil(length / 2))
def motion_blur(image: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """Straight line of ``length`` pixels, horizontal or vertical at random, edges replicated (KADID-10k #3)."""
    kernel = line_kernel(length)
    kernel = kernel[None, :] if rng.integers(2) else kernel[:, None]
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)
