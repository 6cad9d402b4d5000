"""The 26 distortions of KADID-10k (Lin, Hosu, Saupe, QoMEX 2019), each at five levels.

A distortion is one small function in the module of its group. The decorator ``@distortion`` registers it with its
levels, so a new kind changes one file only. ``regions`` computes parts of a distorted image.
``python -m datasets.distortions IMAGE --sheet out.png`` draws all kinds at all levels.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from datasets.boxes import Box
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
    image: np.ndarray, name: str, level: int, rng: np.random.Generator, requested: Sequence[Box] | None = None
) -> np.ndarray:
    """Distorts ``image``, uint8 RGB (H, W, 3), by the kind ``name`` at ``level`` (0 to 4); returns a new array.

    ``requested`` are one or more boxes of the image: outside them the result may hold any values, and costly kinds
    compute nothing there. By default the complete image is requested.
    Raises ValueError for an unknown kind, a level outside 0..4 and anything but a uint8 RGB image.
    """
    if name not in DISTORTIONS:
        raise ValueError(f"unknown distortion '{name}'; the kinds are {', '.join(DISTORTIONS)}")
    if level not in range(N_LEVELS):
        raise ValueError(f"level {level} of {name} does not exist; levels are 0 to {N_LEVELS - 1}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"a distortion takes uint8 (H, W, 3), not {image.dtype} {image.shape}")
    kind = DISTORTIONS[name]
    if requested is None:
        requested = [Box(0, 0, *image.shape[:2])]
    return kind.apply_where(image, kind.levels[level], rng, requested)
