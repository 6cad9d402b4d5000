"""Strips of rows of a large image -> its features, in little memory: those of the complete image.

Each layer computes the rows whose neighbourhood has arrived, and keeps the last rows, because later rows need them: up
to 6 for the first convolution, 4 for a 5x5 and 2 for a 3x3 convolution. So no row is computed twice. The alternative is
strips of the image that overlap by the receptive field. It would cost far more: strips of a hundred rows would overlap
by 483 pixels for ResNet-50 and by 1,507 for ResNet-152. Keeping the complete map between two stages would take 64 bytes
for each pixel.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .efficientnet import InvertedResidual
from .encoder import stages, stem_layers
from .names import LAYER4_MEAN, STAGES_DIFFERENCES
from .pooling import log_differences, map_means, row_means


class StripNetwork:
    """``pooled_network(encoder, pooling)`` for one image, which ``add`` takes strip by strip from top to bottom.

    ``encoder`` is one of ``build_encoder`` in evaluation mode. Strips are (1, 3, rows, W) with any number of rows.
    """

    def __init__(self, encoder: nn.Module, pooling: str):
        stem_conv, norm, relu, *pool = stem_layers(encoder)
        self._stem = [_Window(stem_conv, norm, relu), *(_Window(layer) for layer in pool)]
        self._stages = [_strip_layers(stage) for stage in stages(encoder)]
        self._pools = [_Differences() if pooling == STAGES_DIFFERENCES else _Moments() for _ in self._stages]
        self._pooling = pooling

    def add(self, strip: Tensor, last: bool) -> None:
        """Computes all rows that can be computed after ``strip``; ``last`` marks the last strip of the image."""
        rows = strip
        for window in self._stem:
            rows = window(rows, last)
        for stage, pool in zip(self._stages, self._pools, strict=True):
            for layer in stage:
                rows = layer(rows, last)
            if rows.shape[2] and (self._pooling != LAYER4_MEAN or stage is self._stages[-1]):
                pool.add(rows.to(torch.promote_types(rows.dtype, torch.float32)))

    def features(self) -> Tensor:
        """(1, F) float64, after the last strip."""
        if self._pooling == LAYER4_MEAN:
            return self._pools[-1].values()[0]
        return torch.cat([values for pool in self._pools for values in pool.values()], dim=1)


def _strip_layers(stage: nn.Module) -> list[_Window | _Block]:
    """A stage's blocks, or its convolution with BatchNorm and ReLU, on rows that come in strips."""
    first, *others = stage.children()
    if isinstance(first, nn.Conv2d):
        return [_Window(first, *others)]
    return [_Block(block) for block in (first, *others)]


class _Window:
    """A convolution or max pooling, and the layers after it that see one place, on rows that come in strips."""

    def __init__(self, layer: nn.Module, *after: nn.Module):
        assert isinstance(layer, nn.Conv2d | nn.MaxPool2d)
        sizes = (layer.kernel_size, layer.stride, layer.padding)  # the same in both directions
        self._kernel, self._stride, self._padding = (int(size if isinstance(size, int) else size[0]) for size in sizes)
        self._border = -math.inf if isinstance(layer, nn.MaxPool2d) else 0.0
        # Shares the weights. The image's upper and lower border are padded here, the left and right one by the layer.
        self._layer = copy.copy(layer)
        self._layer.padding = (0, self._padding)
        self._after = nn.Sequential(*after)
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
            return self._layer(F.pad(rows, (0, 0, 0, self._kernel)))[:, :, :0]  # no rows, of the right shape
        return self._after(self._layer(rows[:, :, : (n - 1) * self._stride + self._kernel]))


class _Block:
    """A residual block, whose shortcut waits for the rows of its convolutions."""

    def __init__(self, block: nn.Module):
        *first, last = (layer for layer in block.children() if isinstance(layer, nn.Conv2d))
        norms = [block.get_submodule(f"bn{number}") for number in range(1, len(first) + 2)]
        relu = block.get_submodule("relu")
        self._convolutions = [_Window(*layers, relu) for layers in zip(first, norms, strict=False)]
        self._convolutions.append(_Window(last, norms[-1]))
        self._has_shortcut, self._relu = True, relu
        if isinstance(block, InvertedResidual):  # it has no ReLU after the sum, and often no shortcut
            self._has_shortcut, self._relu = block.has_shortcut, nn.Identity()
        downsample = getattr(block, "downsample", None)
        self._downsample = _Window(*downsample) if isinstance(downsample, nn.Sequential) else None
        self._waiting: Tensor | None = None

    def __call__(self, strip: Tensor, last: bool) -> Tensor:
        rows = strip
        for convolution in self._convolutions:
            rows = convolution(rows, last)
        if not self._has_shortcut:
            return rows
        shortcut = _joined(self._waiting, strip if self._downsample is None else self._downsample(strip, last))
        n = rows.shape[2]
        self._waiting = shortcut[:, :, n:].clone()
        return self._relu(rows + shortcut[:, :, :n])


class _Moments:
    """Mean and deviation (of the population) by channel, of maps that come in strips.

    Kept are mean and variance of each row: rows are equally long, so the variance of a map is the mean of its rows'
    variances and the variance of their means.
    """

    def __init__(self) -> None:
        self._variances: list[Tensor] = []
        self._means: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        """Adds rows (1, C, h, W)."""
        variances, means = torch.var_mean(rows, 3, correction=0)
        self._variances.append(variances)
        self._means.append(means)

    def values(self) -> tuple[Tensor, Tensor]:
        """Means and standard deviations (1, C), float64; a deviation is 0 for a map of one value."""
        variances, means = (torch.cat(strips, dim=2).double() for strips in (self._variances, self._means))
        return means.mean(2), (variances.mean(2) + means.var(2, correction=0)).sqrt()


class _Differences:
    """The values of ``StagesDifferences``, of maps that come in strips; its means over the rows are float64."""

    def __init__(self) -> None:
        self._right: list[Tensor] = []
        self._below: list[Tensor] = []
        self._last_row: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Adds rows (1, C, h, W)."""
        self._right.append(row_means(rows.diff(dim=3)))
        self._below.append(row_means(_joined(self._last_row, rows).diff(dim=2)))
        self._last_row = rows[:, :, -1:].clone()

    def values(self) -> tuple[Tensor, Tensor]:
        """The two values of each map, (1, C) each."""
        right, below = (map_means(torch.cat(strips, dim=3).double()) for strips in (self._right, self._below))
        return log_differences(right, below)


def _joined(above: Tensor | None, below: Tensor) -> Tensor:
    """Rows and the rows below them."""
    if above is None or above.shape[2] == 0:
        return below
    if below.shape[2] == 0:
        return above
    return torch.cat([above, below], dim=2)
