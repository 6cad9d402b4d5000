"""Half-size images as Pillow makes them, from tensors: differentiable, and exported to ONNX with any size.

Written by hand although torch has an antialiased bicubic resize, because ONNX's gives other values.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOBES = 2
"""Half-width of the bicubic kernel, in pixels of the smaller image."""

SLOPE = -0.5
"""Parameter a of the kernel (Keys, 1981), Pillow's value."""

EIGHT_BIT_TOLERANCE = 1e-3
"""Values this close to k / 255, in units of 1 / 255, count as 8-bit values: float32 has errors of 1e-5."""


def half_size(images: Tensor) -> Tensor:
    """(N, 3, H, W) float in [0, 1] -> (N, 3, H // 2, W // 2), bicubic, antialiased; a side of 1 pixel is kept.

    An image of 8-bit values, multiples of 1 / 255, is rounded to 8-bit values exactly as by Pillow's ``Image.resize``.
    The gradient ignores that rounding (straight-through). Other images are not rounded. Overshoots are clipped.
    For images more than twice as high as wide, Pillow 13 exchanges the two passes, and some pixels differ from it.
    """
    levels = 255 * images
    deviation = (levels - torch.floor(levels + 0.5)).abs().amax(dim=(1, 2, 3), keepdim=True)
    is_8_bit = deviation < EIGHT_BIT_TOLERANCE
    # In exact whole numbers, so that halves are rounded as by Pillow.
    levels = torch.where(is_8_bit, _round(levels), levels)
    for _ in range(2):  # Pillow's order: rows become shorter first
        halved = (levels @ _halving(levels.shape[3], levels).T).clamp(0, 255)
        levels = torch.where(is_8_bit, _round(halved), halved).transpose(2, 3)
    return levels / 255


def _round(levels: Tensor) -> Tensor:
    """Halves upward, as Pillow; the gradient passes through."""
    return levels + (torch.floor(levels + 0.5) - levels).detach()


def _halving(length: int, like: Tensor) -> Tensor:
    """(length // 2, length): what each place of a side adds to those of its half; type and device of ``like``."""
    half = max(1, length // 2)
    # Positions in pixels of the longer side, in float64: an odd length has a scale that is no whole number.
    scale = length / half
    centres = (torch.arange(half, dtype=torch.float64, device=like.device) + 0.5) * scale
    places = torch.arange(length, dtype=torch.float64, device=like.device) + 0.5
    weights = _cubic((places - centres[:, None]) / scale)
    return (weights / weights.sum(dim=1, keepdim=True)).to(like.dtype)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel (IEEE TASSP 29(6), 1981, eq. 4)."""
    x = x.abs()
    inner = ((SLOPE + 2) * x - (SLOPE + 3)) * x * x + 1
    outer = SLOPE * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, inner, torch.where(x < LOBES, outer, torch.zeros_like(x)))
