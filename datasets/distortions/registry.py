"""One distortion: a pure function, its five levels, and how far its result depends on the pixels around it.

Of a chain of distortions, ``distort_boxes`` computes parts of the result: ``plan_regions`` goes through the chain
backwards, from the requested result to the region that each step reads, and ``compute_region`` applies the steps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from datasets.boxes import Box, disjoint

Apply = Callable[..., np.ndarray]

WHOLE_IMAGE = 1 << 30
"""The reach of a distortion whose result at a pixel depends on the complete image."""


@dataclass(frozen=True)
class Distortion:
    """One kind of distortion.

    ``apply(image, amount, rng)`` maps uint8 RGB (H, W, 3) to a new array of the same shape and type. ``levels``
    are the five amounts in the order of KADID-10k's table. ``reach(amount)`` is the distance in pixels up to which a
    result depends on its surroundings. ``grid(amount)`` is the spacing of the lattice to which it is tied (JPEG's
    blocks, the pixels of a reduced image). If ``selective``, ``apply`` takes a fourth argument, the requested boxes:
    outside them it computes less, and the result may hold any values. ``ordered`` is False where a higher level is not
    a stronger distortion, because the amounts go from one side of "no change" to the other.
    """

    levels: tuple[float, ...]
    apply: Apply
    reach: Callable[[float], int]
    grid: Callable[[float], int]
    selective: bool
    ordered: bool

    def input_box(self, output: Box, amount: float, height: int, width: int) -> Box:
        """The region of a (height, width) image that is needed to compute the result inside ``output``."""
        grid = self.grid(amount)
        if height % grid or width % grid:
            return Box(0, 0, height, width)
        around = output.dilated(self.reach(amount), Box(0, 0, height, width))
        return Box(
            around.top // grid * grid,
            around.left // grid * grid,
            math.ceil(around.bottom / grid) * grid,
            math.ceil(around.right / grid) * grid,
        )


def piece_by_piece(apply: Apply) -> Apply:
    """Makes a costly function of single pixels ``selective``: it is computed inside the requested boxes only."""

    @functools.wraps(apply)
    def apply_to_pieces(
        image: np.ndarray, amount: float, rng: np.random.Generator, requested: Sequence[Box]
    ) -> np.ndarray:
        result = np.empty_like(image)
        for piece in disjoint(requested):
            piece.cut(result)[...] = apply(piece.cut(image), amount, rng)
        return result

    return apply_to_pieces


REGISTERED: dict[str, Distortion] = {}

N_LEVELS = 5


def distortion(
    levels: tuple[float, float, float, float, float],
    reach: Callable[[float], int] = lambda amount: 0,
    grid: Callable[[float], int] = lambda amount: 1,
    selective: bool = False,
    ordered: bool = True,
) -> Callable[[Apply], Apply]:
    """Registers the decorated function under its own name; the function itself is unchanged."""

    def register(apply: Apply) -> Apply:
        REGISTERED[apply.__name__] = Distortion(levels, apply, reach, grid, selective, ordered)
        return apply

    return register


def distort(
    image: np.ndarray, name: str, level: int, rng: np.random.Generator, requested: Sequence[Box] | None = None
) -> np.ndarray:
    """Distorts ``image``, uint8 RGB (H, W, 3), by the kind ``name`` at ``level`` (0 to 4); returns a new array.

    ``requested`` are one or more boxes of the image: outside them the result may hold any values, and costly kinds
    compute nothing there. By default the complete image is requested.
    Raises ValueError for an unknown kind, a level outside 0..4 and anything but a uint8 RGB image.
    """
    if name not in REGISTERED:
        raise ValueError(f"unknown distortion '{name}'; the kinds are {', '.join(sorted(REGISTERED))}")
    if level not in range(N_LEVELS):
        raise ValueError(f"level {level} of {name} does not exist; levels are 0 to {N_LEVELS - 1}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"a distortion takes uint8 (H, W, 3), not {image.dtype} {image.shape}")
    kind = REGISTERED[name]
    if not kind.selective:
        return kind.apply(image, kind.levels[level], rng)
    return kind.apply(image, kind.levels[level], rng, requested or [Box(0, 0, *image.shape[:2])])


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
