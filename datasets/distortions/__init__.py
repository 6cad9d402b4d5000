"""The 26 distortions of KADID-10k (Lin, Hosu, Saupe, QoMEX 2019), each at five levels.

A distortion is one small function in the module of its group, registered with its levels by the decorator
``@distortion``; that is all a 27th would need. ``python -m datasets.distortions IMAGE --sheet out.png`` draws them.
"""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from datasets.crops import Box
from datasets.distortions import (  # noqa: F401  (each import registers its group)
    blur,
    brightness,
    color,
    compression,
    noise,
    sharpness,
    spatial,
)
from datasets.distortions.registry import REGISTERED, Distortion

DISTORTIONS: Mapping[str, Distortion] = MappingProxyType(dict(sorted(REGISTERED.items())))
"""Name -> Distortion, in alphabetical order, so that a random draw by position does not depend on import order."""

N_LEVELS = 5


def distort(
    image: np.ndarray, name: str, level: int, rng: np.random.Generator, wanted: Sequence[Box] | None = None
) -> np.ndarray:
    """Distorts ``image``, uint8 RGB (H, W, 3), by the kind ``name`` at ``level`` (0 to 4); returns a new array.

    With ``wanted``, one or more boxes of the image, it may be anything outside them; costly kinds save themselves work.
    Raises ValueError for an unknown kind, a level outside 0..4 and anything but a uint8 RGB image.
    """
    if name not in DISTORTIONS:
        raise ValueError(f"unknown distortion '{name}'; the kinds are {', '.join(DISTORTIONS)}")
    if level not in range(N_LEVELS):
        raise ValueError(f"level {level} of {name} does not exist; levels are 0 to {N_LEVELS - 1}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"a distortion takes uint8 (H, W, 3), not {image.dtype} {image.shape}")
    kind = DISTORTIONS[name]
    everything = [Box(0, 0, *image.shape[:2])]
    return kind.apply_where(image, kind.levels[level], rng, everything if wanted is None else wanted)


Steps = Sequence[tuple[str, int]]
"""Kinds of distortion and their levels, in the order in which they are applied."""


def _input_boxes(output: Box, steps: Steps, height: int, width: int) -> list[Box]:
    """The part of a (height, width) image that each of ``steps`` needs, and ``output``, at the end."""
    boxes = [output]
    for name, level in reversed(steps):
        kind = DISTORTIONS[name]
        boxes.append(kind.input_box(boxes[-1], kind.levels[level], height, width))
    return boxes[::-1]


def distort_box(
    image: np.ndarray, output: Box, steps: Steps, rng: np.random.Generator, wanted: Sequence[Box] | None = None
) -> np.ndarray:
    """Applies ``steps``, (name, level) pairs in order, and returns the part of the result inside ``output``.

    Computes only the part of the image on which that result depends. For a kind without randomness this equals
    cutting ``output`` out of the distorted image; for the others the two are alike in distribution. With ``wanted``,
    boxes inside ``output``, the result may be anything outside them.
    """
    inputs = _input_boxes(output, steps, *image.shape[:2])
    part = inputs[0].cut(image)
    for step, (name, level) in enumerate(steps):
        given, needed = inputs[step], inputs[step + 1]
        boxes = wanted if wanted is not None and step == len(steps) - 1 else [needed]
        part = distort(part, name, level, rng, [box.relative_to(given) for box in boxes])
        part = needed.relative_to(given).cut(part)
    return part


def distort_boxes(
    image: np.ndarray, outputs: Sequence[Sequence[Box]], steps: Steps, rng: np.random.Generator
) -> list[np.ndarray]:
    """``distort_box`` for groups of boxes, all together or group by group, whichever takes fewer pixels.

    Returns for each group the part inside the box around it, which may be anything outside the group's own boxes. Group
    by group, chance decides alike for each what it decides for the whole image, such as a direction; noise differs.
    """
    frames = [functools.reduce(Box.union, group) for group in outputs]
    around = functools.reduce(Box.union, frames)
    size = image.shape[:2]
    if sum(_input_boxes(frame, steps, *size)[0].area for frame in frames) >= _input_boxes(around, steps, *size)[0].area:
        part = distort_box(image, around, steps, rng, [box for group in outputs for box in group])
        return [frame.relative_to(around).cut(part) for frame in frames]
    seed = rng.integers(2**63)
    return [
        distort_box(image, frame, steps, np.random.default_rng(seed), group)
        for frame, group in zip(frames, outputs, strict=True)
    ]
