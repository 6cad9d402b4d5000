"""Spatial distortions of KADID-10k: colour blocks, misplaced patches, jitter."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from datasets.boxes import Box, disjoint
from datasets.distortions.noise import draw_gaussian
from datasets.distortions.registry import distortion
from datasets.distortions.resolution import to_uint8

REFERENCE_HEIGHT, REFERENCE_WIDTH = 384, 512
"""Size of KADID-10k's images. Counts of blocks and patches refer to this size; other sizes keep the density."""


def _draw_count(at_reference_size: float, size: int, image: np.ndarray, rng: np.random.Generator) -> int:
    """Draws the number of squares of ``size`` that keeps their density: the same number per possible position.

    A fraction is the chance of one more square. Squares lie inside the image or part, so positions are counted and not
    pixels: that keeps the density in a part of an image, too.
    """
    height, width = image.shape[:2]
    places = max(1, height - size + 1) * max(1, width - size + 1)
    places_at_reference_size = (REFERENCE_HEIGHT - size + 1) * (REFERENCE_WIDTH - size + 1)
    return math.floor(at_reference_size * places / places_at_reference_size + rng.random())


BLOCK_SIZE = 32


@distortion(levels=(2, 4, 6, 8, 10), reach=lambda count: BLOCK_SIZE)
def color_block(image: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    """``count`` squares of 32x32 in random uniform colours at random places (KADID-10k #23)."""
    blocked = image.copy()
    height, width = image.shape[:2]
    for _ in range(_draw_count(count, BLOCK_SIZE, image, rng)):
        top = rng.integers(max(0, height - BLOCK_SIZE) + 1)
        left = rng.integers(max(0, width - BLOCK_SIZE) + 1)
        blocked[top : top + BLOCK_SIZE, left : left + BLOCK_SIZE] = rng.integers(256, size=3, dtype=np.uint8)
    return blocked


PATCH_SIZE = 16
MAX_DISPLACEMENT = 8


@distortion(levels=(20, 40, 60, 80, 100), reach=lambda count: PATCH_SIZE + MAX_DISPLACEMENT)
def non_eccentricity(image: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    """``count`` patches of 16x16 copied to a place up to 8 pixels away on each axis (KADID-10k #22)."""
    moved = image.copy()
    height, width = image.shape[:2]
    room = np.array((max(0, height - PATCH_SIZE), max(0, width - PATCH_SIZE)))
    n_patches = _draw_count(count, PATCH_SIZE, image, rng)
    sources = rng.integers(room + 1, size=(n_patches, 2))
    displacements = rng.integers(-MAX_DISPLACEMENT, MAX_DISPLACEMENT + 1, size=(n_patches, 2))
    targets = np.clip(sources + displacements, 0, room)
    for (top, left), (to_top, to_left) in zip(sources, targets, strict=True):
        patch = image[top : top + PATCH_SIZE, left : left + PATCH_SIZE]
        moved[to_top : to_top + PATCH_SIZE, to_left : to_left + PATCH_SIZE] = patch
    return moved


N_DISPLACEMENTS = 5
LARGEST_SUM = 0.15
"""Largest standard deviation, pixels, of a sum of displacements that one warp makes in place of several.

Measured on photographs against one warp for each displacement: the variance of a pixel agrees within 4 %, the
correlation of neighbours within 0.02.
"""

CUBIC_REACH = 2
CUBIC_WARP = cv2.INTER_CUBIC | cv2.WARP_RELATIVE_MAP


def _warp_sigmas(sigma: float) -> list[float]:
    """Standard deviations of the warps that replace five warps of ``sigma``: five, three or one."""
    together = max(1, int((LARGEST_SUM / sigma) ** 2))
    return [sigma * math.sqrt(min(together, N_DISPLACEMENTS - first)) for first in range(0, N_DISPLACEMENTS, together)]


def _reach_of_warps(sigmas: Sequence[float]) -> int:
    """Largest total displacement of successive warps for 399 of 400 pixels, plus the width of a kernel.

    The remaining pixel is displaced by less if it lies at the edge of the requested region.
    """
    return math.ceil(3 * math.hypot(*sigmas)) + CUBIC_REACH if sigmas else 0


def draw_displacements(tile: Box, sigma: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Draws where each pixel of ``tile`` takes its value from, for OpenCV: dx and dy, float32 (H, W).

    OpenCV adds a pixel's position within the tile; the tile's own corner is therefore added here.
    """
    return [draw_gaussian((tile.height, tile.width), sigma, rng, mean=corner) for corner in (tile.left, tile.top)]


@distortion(levels=(0.05, 0.1, 0.2, 0.5, 1), reach=lambda sigma: _reach_of_warps(_warp_sigmas(sigma)), selective=True)
def jitter(image: np.ndarray, sigma: float, rng: np.random.Generator, requested: Sequence[Box]) -> np.ndarray:
    """Five successive warps; each displaces every pixel by an independent Gaussian of ``sigma`` pixels (KADID-10k #19).

    Cubic interpolation, edges replicated; small displacements are added up and make one warp. Outside the
    ``requested`` boxes the result may hold any values.
    """
    whole = Box(0, 0, *image.shape[:2])
    warped = image.astype(np.float32)
    # Outside the tiles of a warp this holds the image or an earlier warp: a rare pixel reads from there.
    spare = warped.copy()
    sigmas = _warp_sigmas(sigma)
    for warp, warp_sigma in enumerate(sigmas):
        reach = _reach_of_warps(sigmas[warp + 1 :])
        for tile in disjoint([box.dilated(reach, whole) for box in requested]):
            dx, dy = draw_displacements(tile, warp_sigma, rng)
            cv2.remap(warped, dx, dy, CUBIC_WARP, dst=tile.cut(spare), borderMode=cv2.BORDER_REPLICATE)
        warped, spare = spare, warped
    return to_uint8(warped)
