"""CIELAB for the distortions that work in it: sRGB and D65 (CIE 15).

L*, a* and b* are linear in three roots, r = f(X / Xn), f(Y / Yn), f(Z / Zn), where f is the cube root with its tangent
below (6/29)^3:

    L* = 116 r_y - 16        a* = 500 (r_x - r_y)        b* = 200 (r_y - r_z)

A distortion that is linear in L*, a*, b* can therefore be applied to the roots. Tables and two 3x3 matrices convert
RGB to roots and back. Roots are stored as uint16, ROOT_ZERO + ROOT_UNIT r: steps of 0.01 in L*, with room for the
chroma of the strongest saturation.

The tables are written by hand because ``cv2.cvtColor`` takes three times as long in float32, and in uint8 it rounds
L*, a*, b* to whole numbers, which changes a colour by up to 24 levels there and back.
"""

import functools
from typing import TypeVar

import cv2
import numpy as np

UNIT_VALUES = np.arange(256) / 255

OPENCV_LOOKS_UP_WORDS = tuple(int(part) for part in cv2.__version__.split(".")[:2]) >= (4, 13)

XYZ_FROM_RGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
RATIO_FROM_RGB = XYZ_FROM_RGB / XYZ_FROM_RGB.sum(axis=1, keepdims=True)
"""Linear light of R, G, B to X / Xn, Y / Yn, Z / Zn."""

RGB_FROM_RATIO = np.linalg.inv(RATIO_FROM_RGB)

ROOT_UNIT = 12_000
ROOT_ZERO = 28_800

# Below this root (and its cube) the tangent replaces the curve.
TANGENT_ROOT = 6 / 29
TANGENT_SLOPE = 841 / 108

LIGHTNESS = np.array([[0, 1, 0]] * 3, np.float64)
"""The matrix on roots that keeps L* and sets a* and b* to 0."""

CHROMA = np.eye(3) - LIGHTNESS
"""The rest of the identity: LIGHTNESS + k CHROMA multiplies a* and b* by k."""

_WORDS = np.arange(65536)

Lightness = TypeVar("Lightness", float, np.ndarray)


def root_of_lightness(lightness: Lightness) -> Lightness:
    """L* (0..100) as a stored root."""
    return ROOT_ZERO + ROOT_UNIT * (lightness + 16) / 116


def look_up(table: np.ndarray, words: np.ndarray) -> np.ndarray:
    """``table[words]`` of a table of 65,536 entries and uint16 ``words``, (H, W, 3) or (H, W)."""
    if OPENCV_LOOKS_UP_WORDS:
        return cv2.LUT(words, table)
    # Every 16-bit number is a valid index: "wrap" avoids the check.
    return np.take(table, words, mode="wrap")


@functools.lru_cache
def _linear_light() -> np.ndarray:
    """sRGB's decoding: uint8 value -> linear light on 0..65535."""
    linear = np.where(UNIT_VALUES <= 0.04045, UNIT_VALUES / 12.92, ((UNIT_VALUES + 0.055) / 1.055) ** 2.4)
    return np.rint(65535 * linear).astype(np.uint16)


@functools.lru_cache
def _stored_roots() -> np.ndarray:
    """Ratio on 0..65535 -> stored root."""
    ratio = _WORDS / 65535
    root = np.where(ratio > TANGENT_ROOT**3, np.cbrt(ratio), TANGENT_SLOPE * ratio + 16 / 116)
    return np.rint(ROOT_ZERO + ROOT_UNIT * root).astype(np.uint16)


@functools.lru_cache
def _ratios() -> np.ndarray:
    """Stored root -> ratio, float32; some are negative or far above 1: colours outside sRGB."""
    root = (_WORDS - ROOT_ZERO) / ROOT_UNIT
    return np.where(root > TANGENT_ROOT, root**3, (root - 16 / 116) / TANGENT_SLOPE).astype(np.float32)


@functools.lru_cache
def _screen_values() -> np.ndarray:
    """sRGB's encoding: linear light on 0..65535 -> uint8 value."""
    linear = _WORDS / 65535
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)


def rgb_to_roots(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) to stored roots of X, Y, Z, uint16 (H, W, 3)."""
    return look_up(_stored_roots(), cv2.transform(cv2.LUT(image, _linear_light()), RATIO_FROM_RGB))


def roots_to_rgb(roots: np.ndarray) -> np.ndarray:
    """Stored roots, uint16 (H, W, 3), to uint8 RGB; colours outside sRGB are clipped per channel."""
    linear = cv2.transform(look_up(_ratios(), roots), 65535 * RGB_FROM_RATIO)
    return look_up(_screen_values(), np.clip(linear, 0, 65535, out=linear).astype(np.uint16))


def shift_lightness(roots: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """``roots`` with L* moved by ``after`` - ``before``, stored roots of Y, uint16 (H, W); a* and b* kept."""
    # Modulo 2^16: right for negative differences, too.
    return np.add(roots, cv2.cvtColor(np.subtract(after, before), cv2.COLOR_GRAY2RGB))
