"""Places of crops: the overlapping crop pair (Re-IQA, section 3.2) and the centre. Pure functions, without files."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from datasets.boxes import Box

MIN_OVERLAP = 0.10
MAX_OVERLAP = 0.30


@functools.lru_cache(maxsize=32)
def _columns_within_overlap(size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row offset dy = 0..size-1 the first and last column offset dx whose overlap is in range."""
    kept_rows = 1 - np.arange(size) / size
    # 1e-9: an offset whose overlap is exactly 10 % or 30 % belongs to the range despite rounding.
    first = np.ceil(size * (1 - MAX_OVERLAP / kept_rows) - 1e-9).astype(int)
    last = np.floor(size * (1 - MIN_OVERLAP / kept_rows) + 1e-9).astype(int)
    return np.maximum(first, 0), last


def sample_offset(size: int, max_dy: int, max_dx: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draws how far apart two ``size`` x ``size`` crops lie, (|dy|, |dx|) with |dy| <= max_dy and |dx| <= max_dx.

    Uniform over all integer offsets at which (1 - dy/size)(1 - dx/size), the overlap as a share of a crop's area, is
    in [0.10, 0.30]. If no offset is, the result is the largest one: (max_dy, max_dx).
    """
    first, last = _columns_within_overlap(size)
    first, last = first[: max_dy + 1], np.minimum(last[: max_dy + 1], max_dx)
    choices = np.cumsum(np.maximum(last - first + 1, 0))
    if choices[-1] == 0:
        return min(max_dy, size - 1), min(max_dx, size - 1)
    pick = int(rng.integers(choices[-1]))
    dy = int(np.searchsorted(choices, pick, side="right"))
    return dy, int(last[dy] - (choices[dy] - 1 - pick))


def sample_crop_pair(height: int, width: int, size: int, rng: np.random.Generator) -> tuple[Box, Box]:
    """Draws two overlapping ``size`` x ``size`` boxes inside a (height, width) image, which is not smaller than a crop.

    Either axis may carry the larger offset, in either direction.
    """
    dy, dx = sample_offset(size, height - size, width - size, rng)
    top = int(rng.integers(height - size - dy + 1))
    left = int(rng.integers(width - size - dx + 1))
    query_is_lower, query_is_further_right = rng.integers(2, size=2, dtype=bool)
    tops = (top + dy, top) if query_is_lower else (top, top + dy)
    lefts = (left + dx, left) if query_is_further_right else (left, left + dx)
    query, key = (Box(y, x, y + size, x + size) for y, x in zip(tops, lefts, strict=True))
    return query, key


def mirror_up_to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mirrors ``image``, (H, W, 3), at its edges until it is at least (height, width); larger axes are unchanged."""
    missing_rows = max(0, height - image.shape[0])
    missing_columns = max(0, width - image.shape[1])
    if not missing_rows and not missing_columns:
        return image
    above, before = missing_rows // 2, missing_columns // 2
    return cv2.copyMakeBorder(
        image, above, missing_rows - above, before, missing_columns - before, cv2.BORDER_REFLECT_101
    )


@dataclass(frozen=True)
class CropPlan:
    """The positions of a scale's two crops, and the parts of the full-size image that they are computed from.

    ``query`` and ``key`` are boxes in the image divided by ``factor`` (1 or 2) and mirrored up to the crop's size;
    ``sources`` are boxes in the full-size image: each crop depends on the pixels of its own, and ``source`` is the
    box around both. Dividing ``source`` alone by ``factor`` gives the same crops as dividing the complete image.
    """

    factor: int
    query: Box
    key: Box
    sources: tuple[Box, Box]

    @property
    def source(self) -> Box:
        return self.sources[0].union(self.sources[1])


RESIZE_MARGIN = 4
"""Pixels around a region that the bicubic kernel reads when an image is halved."""


def _source_range(length: int, first: int, last: int, factor: int, size: int) -> tuple[int, int]:
    """The rows (or columns) of the full-size image behind rows first..last of the divided one."""
    divided = length // factor
    # A mirrored axis needs its edges. An odd length divided by 2 has a pixel grid that no part of it would keep.
    if divided < size or length % factor:
        return 0, length
    margin = 0 if factor == 1 else RESIZE_MARGIN
    return max(0, factor * first - margin), min(length, factor * last + margin)


def plan_crops(height: int, width: int, factor: int, size: int, rng: np.random.Generator) -> CropPlan:
    """Draws the two overlapping ``size`` x ``size`` crops of a (height, width) image divided by ``factor``."""
    query, key = sample_crop_pair(max(size, height // factor), max(size, width // factor), size, rng)
    sources = []
    for crop in (query, key):
        top, bottom = _source_range(height, crop.top, crop.bottom, factor, size)
        left, right = _source_range(width, crop.left, crop.right, factor, size)
        sources.append(Box(top, left, bottom, right))
    return CropPlan(factor, query, key, (sources[0], sources[1]))


def centre(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image (H, W, 3), at most ``side`` pixels high and wide."""
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return image[top : top + side, left : left + side]
