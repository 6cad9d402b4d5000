"""A ResNet's pooled features of an image that comes in strips of rows: those of the complete image, in little memory.

Each layer computes the rows whose neighbourhood has arrived, and keeps the last rows, because later rows need them: up
to 6 for the first convolution, 2 for a 3x3 convolution. So no row is computed twice. The alternative is strips of the
image that overlap by the receptive field. It would cost far more: strips of a hundred rows would overlap by 483 pixels
for ResNet-50 and by 1,507 for ResNet-152. Keeping the complete map between two stages would take 64 bytes for each
pixel.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.names import LAYER4_MEAN
from networks.encoder import STAGES
from networks.pooling import map_moments, place_weights, pooled_values, row_moments

STRIP_PIXELS = 250_000
"""Pixels of the image in one strip. Its maps take 0.15 GB in a ResNet-50, measured at an image width of 4,000."""


class StripNetwork:
    """``pooled_network(encoder, pooling)`` for one image, which ``add`` takes strip by strip from top to bottom.

    ``encoder`` is a ResNet in evaluation mode. Strips are (1, 3, rows, W) with any number of rows.
    """

    def __init__(self, encoder: nn.Module, pooling: str):
        def module(name: str) -> nn.Module:
            return encoder.get_submodule(name)

        self._stem = _Window(module("conv1"), module("bn1"))
        self._pool = _Window(module("maxpool"))
        self._stages = [[_Block(block) for block in module(name).children()] for name in STAGES]
        self._moments = [_RowMoments(pooling) for _ in STAGES]
        self._pooling = pooling

    def add(self, strip: Tensor, last: bool) -> None:
        """Computes all rows that can be computed after ``strip``; ``last`` marks the last strip of the image."""
        rows = self._pool(self._stem(strip, last).relu_(), last)
        for stage, moments in zip(self._stages, self._moments, strict=True):
            for block in stage:
                rows = block(rows, last)
            if self._pooling != LAYER4_MEAN or stage is self._stages[-1]:
                moments.add(rows)

    def features(self) -> Tensor:
        """(1, F) float64, after the last strip."""
        if self._pooling == LAYER4_MEAN:
            return self._moments[-1].of_maps()[0]
        pooled = [pooled_values(self._pooling, *moments.of_maps()) for moments in self._moments]
        return torch.cat([values for pair in pooled for values in pair], dim=1)


class _Window:
    """A convolution or max pooling, and the normalisation after it, on rows that come in strips."""

    def __init__(self, layer: nn.Module, norm: nn.Module | None = None):
        assert isinstance(layer, nn.Conv2d | nn.MaxPool2d)
        self._kernel, self._kernel_width = _rows_and_columns(layer.kernel_size)
        self._stride, self._stride_width = _rows_and_columns(layer.stride)
        self._padding, self._padding_width = _rows_and_columns(layer.padding)
        self._border = -math.inf if isinstance(layer, nn.MaxPool2d) else 0.0
        # Shares the weights. The image's upper and lower border are padded here, the left and right one by the layer.
        self._layer = copy.copy(layer)
        self._layer.padding = (0, self._padding_width)
        self._norm = norm or nn.Identity()
        self._kept: Tensor | None = None

    def __call__(self, strip: Tensor, last: bool) -> Tensor:
        """The rows that can be computed after ``strip``: perhaps none, and all the rest if it is the ``last`` one."""
        above = self._padding if self._kept is None else 0
        below = self._padding if last else 0
        padded = F.pad(strip, (0, 0, above, below), value=self._border) if above or below else strip
        rows = _joined(self._kept, padded)
        # A stride larger than the kernel skips rows; these rows must have arrived, too.
        needed = self._kernel if last else max(self._kernel, self._stride)
        n = max(0, (rows.shape[2] - needed) // self._stride + 1)
        self._kept = rows[:, :, n * self._stride :].clone()  # a slice would keep the complete strip in memory
        if n == 0:
            return self._no_rows(rows)
        return self._norm(self._layer(rows[:, :, : (n - 1) * self._stride + self._kernel]))

    def _no_rows(self, rows: Tensor) -> Tensor:
        width = (rows.shape[3] + 2 * self._padding_width - self._kernel_width) // self._stride_width + 1
        return rows.new_empty((1, getattr(self._layer, "out_channels", rows.shape[1]), 0, width))


class _Block:
    """A residual block, whose shortcut waits for the rows of its convolutions."""

    def __init__(self, block: nn.Module):
        names = [name for name, layer in block.named_children() if isinstance(layer, nn.Conv2d)]
        self._convolutions = [
            _Window(block.get_submodule(name), block.get_submodule(name.replace("conv", "bn"))) for name in names
        ]
        downsample = block.downsample
        self._downsample = _Window(*downsample) if isinstance(downsample, nn.Sequential) else None
        self._waiting: Tensor | None = None

    def __call__(self, strip: Tensor, last: bool) -> Tensor:
        shortcut = strip if self._downsample is None else self._downsample(strip, last)
        rows = strip
        for convolution in self._convolutions[:-1]:
            rows = convolution(rows, last).relu_()
        rows = self._convolutions[-1](rows, last)
        shortcut = _joined(self._waiting, shortcut)
        n = rows.shape[2]
        self._waiting = shortcut[:, :, n:].clone()
        return (rows + shortcut[:, :, :n]).relu_()


class _RowMoments:
    """Means and variances of the rows of maps that come in strips; their sums are float64."""

    def __init__(self, pooling: str) -> None:
        self._pooling = pooling
        self._means: list[Tensor] = []
        self._variances: list[Tensor] = []

    def add(self, maps: Tensor) -> None:
        """Adds rows (1, C, h, W); h may be 0."""
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        means, variances = row_moments(maps, place_weights(self._pooling, maps.shape[3], maps))
        self._means.append(means.double())
        self._variances.append(variances.double())

    def of_maps(self) -> tuple[Tensor, Tensor]:
        """Means and variances (1, C) of the complete maps."""
        means, variances = torch.cat(self._means, dim=2), torch.cat(self._variances, dim=2)
        return map_moments(means, variances, place_weights(self._pooling, means.shape[2], means))


def _joined(above: Tensor | None, below: Tensor) -> Tensor:
    """Rows and the rows below them."""
    if above is None or above.shape[2] == 0:
        return below
    if below.shape[2] == 0:
        return above
    return torch.cat([above, below], dim=2)


def _rows_and_columns(value: int | str | tuple[int, ...]) -> tuple[int, int]:
    """A layer's kernel size, stride or padding, as (rows, columns)."""
    if isinstance(value, int):
        return value, value
    assert not isinstance(value, str), "convolutions of a ResNet name their padding as numbers"
    return value[0], value[1]
