"""CIELAB for the distortions that work in it: L* in 0..100, a* and b* about -128..127, sRGB and D65 (CIE 15).

The way there is ours, since OpenCV's is off by up to 0.4 in a*, which the strongest diffusion multiplies by 12; the
way back is OpenCV's, right to 0.01 of a grey level.
"""

import cv2
import numpy as np

XYZ_FROM_RGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
WHITE_POINT = XYZ_FROM_RGB.sum(axis=1)
RATIO_FROM_RGB = XYZ_FROM_RGB / WHITE_POINT[:, None]
LAB_FROM_ROOTS = np.array([[0, 116, 0, -16], [500, -500, 0, 0], [0, 200, -200, 0]], np.float64)

_unit = np.arange(256) / 255
LINEAR_LIGHT = np.where(_unit <= 0.04045, _unit / 12.92, ((_unit + 0.055) / 1.055) ** 2.4).astype(np.float32)

# Below this ratio the cube root gives way to its tangent.
TANGENT_BELOW = np.float32((6 / 29) ** 3)
TANGENT_SLOPE = np.float32(841 / 108)

PIXELS_PER_STRIP = 40_000
"""Temporary arrays of this many pixels stay in the processor's cache."""


def rgb_to_lab(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) to float32 CIELAB (H, W, 3)."""
    height, width = image.shape[:2]
    lab = np.empty(image.shape, np.float32)
    rows = max(1, PIXELS_PER_STRIP // width)
    for top in range(0, height, rows):
        strip = slice(top, top + rows)
        ratio = cv2.transform(cv2.LUT(image[strip], LINEAR_LIGHT), RATIO_FROM_RGB)
        roots = np.cbrt(np.maximum(ratio, TANGENT_BELOW))
        roots += TANGENT_SLOPE * np.minimum(ratio - TANGENT_BELOW, 0)
        lab[strip] = cv2.transform(roots, LAB_FROM_ROOTS)
    return lab


def lab_to_unit_rgb(lab: np.ndarray) -> np.ndarray:
    """float32 CIELAB (H, W, 3) to float32 RGB in [0, 1]; colours outside sRGB are clipped per channel."""
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def lab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """float32 CIELAB (H, W, 3) to uint8 RGB."""
    return cv2.convertScaleAbs(lab_to_unit_rgb(lab), alpha=255)
