"""Half-size images as Pillow makes them, from tensors: differentiable, and exported to ONNX with any size.

Written by hand although torch has an antialiased bicubic resize: that one has no 8-bit rounding between its two
passes, which Pillow has and a score depends on.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LOBES = 2
"""Half-width of the bicubic kernel, in pixels of the smaller image."""

SLOPE = -0.5
"""Parameter a of the kernel (Keys, 1981), Pillow's value."""

EIGHT_BIT_TOLERANCE = 1e-3
"""Values this close to k / 255, in units of 1 / 255, count as 8-bit values: float32 has errors of 1e-5."""

MOST_TAPS = 14
"""Weights for one output value: a side of 3 pixels becomes 1, where the kernel is 4 x 3 pixels wide."""


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
    for dim in (3, 2):  # Pillow's order: rows become shorter first
        halved = _halve(levels, dim).clamp(0, 255)
        levels = torch.where(is_8_bit, _round(halved), halved)
    return levels / 255


def _round(levels: Tensor) -> Tensor:
    """Halves upward, as Pillow; the gradient passes through."""
    return levels + (torch.floor(levels + 0.5) - levels).detach()


def _halve(levels: Tensor, dim: int) -> Tensor:
    """Bicubic, antialiased resize of one dimension to half its length."""
    length = levels.shape[dim]
    half = max(1, length // 2)
    # Positions in pixels of the longer side, in float64: an odd length has a scale that is no whole number.
    scale = length / half
    centres = (torch.arange(half, dtype=torch.float64, device=levels.device) + 0.5) * scale
    first = torch.floor(centres - LOBES * scale + 0.5)
    even = isinstance(length, int) and length % 2 == 0  # of a length that is a symbol, in an export, nothing is known
    n_taps = 4 * LOBES if even else MOST_TAPS
    taps = first[:, None] + torch.arange(n_taps, dtype=torch.float64, device=levels.device)
    weights = _cubic((taps + 0.5 - centres[:, None]) / scale)
    weights = torch.where((taps >= 0) & (taps < length), weights, torch.zeros_like(weights))
    weights = (weights / weights.sum(dim=1, keepdim=True)).to(levels.dtype)

    shape = [1, 1, 1, 1]
    shape[dim] = half
    places = taps.clamp(0, length - 1).to(torch.int64)
    margin = 2 * LOBES
    padded = F.pad(levels, (margin, margin) if dim == 3 else (0, 0, margin, margin))

    def values(tap: int) -> Tensor:
        if even:  # every second value: a slice is read faster than a list of places
            every_second = slice(tap + 1, tap + 1 + length, 2)
            return padded[..., every_second] if dim == 3 else padded[..., every_second, :]
        return levels.index_select(dim, places[:, tap])

    halved = weights[:, 0].view(shape) * values(0)
    for tap in range(1, n_taps):
        halved = torch.addcmul(halved, weights[:, tap].view(shape), values(tap))
    return halved


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel (IEEE TASSP 29(6), 1981, eq. 4)."""
    x = x.abs()
    inner = ((SLOPE + 2) * x - (SLOPE + 3)) * x * x + 1
    outer = SLOPE * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, inner, torch.where(x < LOBES, outer, torch.zeros_like(x)))
