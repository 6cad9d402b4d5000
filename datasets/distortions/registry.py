"""What a distortion is: a pure function, its five levels, and how far its result looks around a pixel."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.crops import Box, disjoint

Apply = Callable[..., np.ndarray]

WHOLE_IMAGE = 1 << 30
"""The reach of a distortion whose result at a pixel depends on the whole image."""


@dataclass(frozen=True)
class Distortion:
    """One kind of distortion.

    ``apply(image, amount, rng)`` maps uint8 RGB (H, W, 3) to a new array of the same shape and type. ``levels``
    are the five amounts, mildest first as the table of KADID-10k orders them. ``reach(amount)`` is the distance
    in pixels at which a result still depends on its surroundings, ``grid(amount)`` the spacing of the lattice
    that it is tied to (JPEG's blocks, the pixels of a reduced image). ``selective``: ``apply`` takes a
    fourth argument, boxes of the image, and saves itself work outside them, where its result may be anything.
    """

    name: str
    levels: tuple[float, ...]
    apply: Apply
    reach: Callable[[float], int]
    grid: Callable[[float], int]
    selective: bool

    def apply_where(
        self, image: np.ndarray, amount: float, rng: np.random.Generator, wanted: Sequence[Box]
    ) -> np.ndarray:
        """``apply``, of whose result only the boxes ``wanted`` will be used."""
        return self.apply(image, amount, rng, wanted) if self.selective else self.apply(image, amount, rng)

    def input_box(self, output: Box, amount: float, height: int, width: int) -> Box:
        """The part of a (height, width) image from which the result inside ``output`` can be computed."""
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
    """A costly function of single pixels made ``selective``: computes, of uint8 (H, W, 3), the boxes wanted alone."""

    @functools.wraps(apply)
    def apply_to_pieces(
        image: np.ndarray, amount: float, rng: np.random.Generator, wanted: Sequence[Box]
    ) -> np.ndarray:
        result = np.empty_like(image)
        for piece in disjoint(wanted):
            piece.cut(result)[...] = apply(piece.cut(image), amount, rng)
        return result

    return apply_to_pieces


REGISTERED: dict[str, Distortion] = {}


def _no_surroundings(amount: float) -> int:
    return 0


def _no_grid(amount: float) -> int:
    return 1


def distortion(
    levels: tuple[float, float, float, float, float],
    reach: Callable[[float], int] = _no_surroundings,
    grid: Callable[[float], int] = _no_grid,
    selective: bool = False,
) -> Callable[[Apply], Apply]:
    """Registers the decorated function under its own name; the function itself stays as it is."""

    def register(apply: Apply) -> Apply:
        REGISTERED[apply.__name__] = Distortion(apply.__name__, levels, apply, reach, grid, selective)
        return apply

    return register
