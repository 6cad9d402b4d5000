"""The 26 distortions of KADID-10k (Lin, Hosu, Saupe, QoMEX 2019), each at five levels.

A distortion is one small function in the module of its group. The decorator ``@distortion`` registers it with its
levels, so a new kind changes one file only. ``distort_boxes`` computes parts of a distorted image.
``python -m datasets.distortions IMAGE --sheet out.png`` draws all kinds at all levels.
"""

from collections.abc import Mapping
from types import MappingProxyType

from datasets.distortions import blur, color, noise, resolution, spatial, tone  # noqa: F401  (each registers its group)
from datasets.distortions.registry import N_LEVELS, REGISTERED, Distortion, distort

__all__ = ["DISTORTIONS", "N_LEVELS", "distort"]

DISTORTIONS: Mapping[str, Distortion] = MappingProxyType(dict(sorted(REGISTERED.items())))
"""Name -> Distortion, in alphabetical order, so that a random draw by position does not depend on import order."""
