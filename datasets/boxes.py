"""Rectangles of pixels, of which crops and regions of distortions are made."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A rectangle of pixels; ``bottom`` and ``right`` are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def area(self) -> int:
        return self.height * self.width

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The pixels of ``image``, (H, W, ...), inside the box: a view."""
        return image[self.top : self.bottom, self.left : self.right]

    def relative_to(self, frame: Box) -> Box:
        """The same rectangle in the coordinates of ``frame``."""
        return Box(self.top - frame.top, self.left - frame.left, self.bottom - frame.top, self.right - frame.left)

    def dilated(self, margin: int, frame: Box) -> Box:
        """The box with ``margin`` pixels more on each side, as far as ``frame`` goes."""
        return Box(
            max(frame.top, self.top - margin),
            max(frame.left, self.left - margin),
            min(frame.bottom, self.bottom + margin),
            min(frame.right, self.right + margin),
        )

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in ranges that neither overlap nor touch, in order."""
    merged: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged


WORTH_DIVIDING = 0.9
"""Boxes that cover more than this share of the box around them are faster to compute in one piece."""


def disjoint(boxes: Sequence[Box]) -> list[Box]:
    """Divides the area covered by ``boxes`` (at least one) into boxes that do not overlap.

    If ``boxes`` nearly fill the box around them, that box is returned instead.
    """
    bands: list[tuple[int, int, list[tuple[int, int]]]] = []  # rows, top to bottom, with the same ranges of columns
    for top, bottom in pairwise(sorted({row for box in boxes for row in (box.top, box.bottom)})):
        columns = _merged([(box.left, box.right) for box in boxes if box.top <= top and bottom <= box.bottom])
        if bands and bands[-1][2] == columns:
            top = bands.pop()[0]
        bands.append((top, bottom, columns))
    pieces = [Box(top, left, bottom, right) for top, bottom, columns in bands for left, right in columns]
    around = functools.reduce(Box.union, boxes)
    return pieces if sum(piece.area for piece in pieces) < WORTH_DIVIDING * around.area else [around]
