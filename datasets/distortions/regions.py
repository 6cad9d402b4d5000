"""Distortion of parts of an image: which region each step of a chain needs, and its computation.

First ``plan_regions`` goes through the chain backwards, from the requested result to the region that each step reads.
Then ``compute_region`` applies the steps in order, each to its own region.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from datasets.boxes import Box
from datasets.distortions.registry import REGISTERED, distort

Steps = Sequence[tuple[str, int]]
"""Kinds of distortion and their levels, in the order in which they are applied."""


def plan_regions(output: Box, steps: Steps, height: int, width: int) -> list[Box]:
    """The regions of a (height, width) image behind ``output``: one that each step reads, and ``output`` itself."""
    regions = [output]
    for name, level in reversed(steps):
        kind = REGISTERED[name]
        regions.append(kind.input_box(regions[-1], kind.levels[level], height, width))
    return regions[::-1]


def compute_region(
    image: np.ndarray, regions: Sequence[Box], steps: Steps, rng: np.random.Generator, requested: Sequence[Box]
) -> np.ndarray:
    """Applies ``steps`` to ``image``, uint8 RGB (H, W, 3), and returns the pixels of the last of the ``regions``.

    ``requested`` are boxes inside that region; outside them the result may hold any values.
    """
    part = regions[0].cut(image)
    for step, ((name, level), (region, next_region)) in enumerate(zip(steps, pairwise(regions), strict=True)):
        boxes = requested if step == len(steps) - 1 else [next_region]
        part = distort(part, name, level, rng, [box.relative_to(region) for box in boxes])
        part = next_region.relative_to(region).cut(part)
    return part


def distort_boxes(
    image: np.ndarray, outputs: Sequence[Sequence[Box]], steps: Steps, rng: np.random.Generator
) -> list[np.ndarray]:
    """Applies ``steps``, (name, level) pairs in order, and returns the parts of the result inside groups of boxes.

    There is one array per group: the pixels inside the group's bounding box; outside the boxes of its group it may hold
    any values. Computes only the part of the image on which these depend. For kinds without randomness the result
    equals a crop of the distorted image; for random kinds the two have the same distribution.

    The groups are computed together or separately, whichever reads fewer pixels. When computed separately, all groups
    start from the same random state, so decisions about the whole image, such as a direction, are the same in all
    groups.
    """
    size = image.shape[:2]
    frames = [functools.reduce(Box.union, group) for group in outputs]
    separate = [plan_regions(frame, steps, *size) for frame in frames]
    together = plan_regions(functools.reduce(Box.union, frames), steps, *size)

    if sum(regions[0].area for regions in separate) >= together[0].area:
        part = compute_region(image, together, steps, rng, [box for group in outputs for box in group])
        return [frame.relative_to(together[-1]).cut(part) for frame in frames]
    seed = rng.integers(2**63)
    return [
        compute_region(image, regions, steps, np.random.default_rng(seed), group)
        for regions, group in zip(separate, outputs, strict=True)
    ]
