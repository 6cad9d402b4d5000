"""Tone curves as tables: functions of a value on [0, 1] with 256 entries, and tables of 65,536 entries."""

import cv2
import numpy as np

UNIT_VALUES = np.arange(256) / 255

OPENCV_LOOKS_UP_WORDS = tuple(int(part) for part in cv2.__version__.split(".")[:2]) >= (4, 13)


def apply_curve(image: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Maps every value of a uint8 image by ``curve``, (256,) on [0, 1], clipped and rounded to uint8."""
    return cv2.LUT(image, np.rint(255 * np.clip(curve, 0, 1)).astype(np.uint8))


def look_up(table: np.ndarray, words: np.ndarray) -> np.ndarray:
    """``table[words]`` of a table of 65,536 entries and uint16 ``words``, (H, W, 3) or (H, W)."""
    if OPENCV_LOOKS_UP_WORDS:
        return cv2.LUT(words, table)
    # Every 16-bit number is a valid index: "wrap" avoids the check.
    return np.take(table, words, mode="wrap")
