"""Tone curves: functions of a value on [0, 1] as 256-entry tables."""

import cv2
import numpy as np


def apply_curve(image: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Maps every value of a uint8 image by ``curve``, (256,) on [0, 1], clipped and rounded to uint8."""
    return cv2.LUT(image, np.rint(255 * np.clip(curve, 0, 1)).astype(np.uint8))


UNIT_VALUES = np.arange(256) / 255
