"""Brightness changes of KADID-10k: brighten, darken, mean shift."""

import cv2
import numpy as np

from datasets.distortions.lab import lab_to_unit_rgb, rgb_to_lab
from datasets.distortions.registry import distortion
from datasets.distortions.tone import UNIT_VALUES, apply_curve


def quadratic_curve(x: np.ndarray, lift: float) -> np.ndarray:
    """The parabola through (0, 0), (0.5, 0.5 + lift / 2), (1, 1), clipped to [0, 1]."""
    return np.clip(x + 2 * lift * x * (1 - x), 0, 1)


@distortion(levels=(0.1, 0.2, 0.4, 0.7, 1.1))
def brighten(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Quadratic tone curve on RGB and on L*; two thirds of the one and one third of the other (KADID-10k #16)."""
    lab = rgb_to_lab(image)
    lab[..., 0] = 100 * quadratic_curve(lab[..., 0] / 100, amount)
    on_rgb = cv2.LUT(image, quadratic_curve(UNIT_VALUES, amount).astype(np.float32))
    return cv2.addWeighted(on_rgb, 255 * 2 / 3, lab_to_unit_rgb(lab), 255 / 3, 0, dtype=cv2.CV_8U)


@distortion(levels=(0.05, 0.1, 0.2, 0.4, 0.8))
def darken(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Quadratic tone curve through (0, 0), (0.5, 0.5 - amount / 2), (1, 1) on every channel (KADID-10k #17)."""
    return apply_curve(image, quadratic_curve(UNIT_VALUES, -amount))


@distortion(levels=(0.15, 0.08, 0, -0.08, -0.15))
def mean_shift(image: np.ndarray, shift: float, rng: np.random.Generator) -> np.ndarray:
    """``shift``, on [0, 1], added to every value (KADID-10k #18)."""
    return apply_curve(image, UNIT_VALUES + shift)
