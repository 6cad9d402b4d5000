"""Pooling: the feature maps of an encoder -> the features of an image, in one of three ways (POOLINGS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .encoder import feature_size, stage_channels, stage_maps
from .names import LAYER4_MEAN, POOLINGS, STAGES_MEAN_STD

CENTER = 0.3
"""Standard deviation of the Gaussian that weights the places of a map, as a part of the map's height and width.

People look at the middle of a photograph first, and most subjects are there. The middle counts 4 times as much as the
middle of a border, and 16 times as much as a corner.
"""

WINDOWS = 8
"""Number of windows of ``window_means`` beside each other in the width of a map, and in its height."""

FLOOR = 0.003
"""What a difference has at least in a logarithm. SRCC hardly depends on it between 0.001 and 0.01."""


class StagesMeanStd(nn.Module):
    """(N, 3, H, W) -> (N, F): for each of ``stages`` the means of its maps, then their standard deviations.

    Deviations are those of the population: 0 for a map of one value. F is 1920 for ResNet-18, 7680 for ResNet-50, 3552
    for EfficientNet-Lite0. The result is float32, or float64 for float64 images.
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        pooled: list[Tensor] = []
        for maps in stage_maps(self.encoder, images):
            pooled += self.pool(maps.to(torch.promote_types(maps.dtype, torch.float32)))
        return torch.cat(pooled, dim=1)

    def pool(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """One stage's maps (N, C, h, w) -> two values for each of them, (N, C) each."""
        deviations, means = torch.std_mean(maps, dim=(2, 3), correction=0)
        return means, deviations

    def local_sum(self, maps: Tensor, of_first: Tensor, of_second: Tensor) -> Tensor:
        """A linear sum of one stage's values, by place: (N, h, w), whose mean over (h, w) is the sum.

        ``of_first`` and ``of_second`` are the weights (C,) of the values that ``pool`` returns. Means of maps add up
        exactly. A standard deviation s is divided among places by (x - mean)^2 / s, whose mean is s.
        """
        deviations, means = torch.std_mean(maps, dim=(2, 3), keepdim=True, correction=0)
        shares = (maps - means).square() / deviations.masked_fill(deviations == 0, 1)
        return torch.einsum("nchw,c->nhw", maps, of_first) + torch.einsum("nchw,c->nhw", shares, of_second)


class StagesDifferences(StagesMeanStd):
    """As StagesMeanStd, but the logarithms of the mean and of the RMS difference between neighbouring places.

    Differences d are those to the right and to the lower neighbour. Places in the middle count more (``CENTER``). The
    values are log(mean of |d| + floor) and log(mean of d^2 + floor^2) / 2: a blurred or noisy image changes the
    differences by a factor, in all maps that see it, and a linear regressor can add up factors only as logarithms.
    This pooling is the project's own; docs/results.md (Pooling) compares it.
    """

    def pool(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        # One direction after the other, since the differences take as much memory as the maps.
        right, below = (map_means(row_means(maps.diff(dim=dim))) for dim in (3, 2))
        return log_differences(right, below)

    def local_sum(self, maps: Tensor, of_first: Tensor, of_second: Tensor) -> Tensor:
        """The sum by place, if the whole image looked as it does around that place; shifted to the right mean.

        A logarithm of a mean cannot be divided among places. So the same logarithms are taken of means in a window of
        an eighth of the map's sides, in which all places count the same.
        """
        first, second = self.pool(maps)
        total = first @ of_first + second @ of_second
        right, below = (window_means(maps.diff(dim=dim), maps.shape[2:]) for dim in (3, 2))
        first, second = log_differences(right, below)
        places = torch.einsum("nchw,c->nhw", first, of_first) + torch.einsum("nchw,c->nhw", second, of_second)
        return places + (total - places.mean(dim=(1, 2)))[:, None, None]


def row_means(differences: Tensor) -> Tensor:
    """(N, C, h, w) -> the weighted means of |d| and d^2 in each row, (2, N, C, h); 0 where w is 0."""
    columns = place_weights(differences.shape[3], differences)
    # Not by ``@``: torch.export would trace it for one image, and for maps of one row or column, separately.
    return torch.stack([(differences.abs() * columns).sum(dim=3), (differences.square() * columns).sum(dim=3)])


def map_means(of_rows: Tensor) -> Tensor:
    """The result of ``row_means`` -> the weighted means over the rows, (2, N, C); 0 where there are no rows."""
    return (of_rows * place_weights(of_rows.shape[3], of_rows)).sum(dim=3)


def window_means(differences: Tensor, size: Sequence[int]) -> Tensor:
    """Means of |d| and d^2 around each place, (2, N, C, *size); 0 where there are no differences."""
    height, width = size
    if differences.numel() == 0:
        return differences.new_zeros((2, *differences.shape[:2], height, width))
    # Odd, so that a place is in the middle of its window.
    rows, columns = (2 * (side // (2 * WINDOWS)) + 1 for side in differences.shape[2:])

    def around(values: Tensor) -> Tensor:
        values = F.avg_pool2d(values, (rows, 1), 1, (rows // 2, 0), count_include_pad=False)
        values = F.avg_pool2d(values, (1, columns), 1, (0, columns // 2), count_include_pad=False)
        return F.pad(values, (0, width - values.shape[3], 0, height - values.shape[2]), mode="replicate")

    return torch.stack([around(differences.abs()), around(differences.square())])


def place_weights(size: int, like: Tensor) -> Tensor:
    """(size,) with the sum 1: how much each row or column of a map counts; type and device are those of ``like``."""
    places = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size - 0.5
    weights = torch.exp(-0.5 * (places / CENTER).square())
    return weights / weights.sum()


def log_differences(right: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """Means of |d| and d^2, (2, N, C, ...) for each direction -> the values of ``StagesDifferences``, (N, C, ...)."""
    means, squares = (right + below) / 2
    return (means + FLOOR).log(), (squares + FLOOR**2).log() / 2


def pooled_network(encoder: nn.Module, pooling: str) -> nn.Module:
    """``encoder`` with one of POOLINGS: (N, 3, H, W) -> (N, F); ValueError for another pooling."""
    if pooling not in POOLINGS:
        raise ValueError(f"unknown pooling '{pooling}'; one of {', '.join(POOLINGS)}")
    if pooling == LAYER4_MEAN:
        return encoder
    return StagesMeanStd(encoder) if pooling == STAGES_MEAN_STD else StagesDifferences(encoder)


def pooled_size(encoder: nn.Module, pooling: str) -> int:
    """The number of values that ``pooled_network`` returns for an image."""
    return feature_size(encoder) if pooling == LAYER4_MEAN else 2 * sum(stage_channels(encoder))


def identity(fingerprint: str, pooling: str) -> str:
    """Identifies features: the encoder's fingerprint and the pooling, which is left out if it is the released one."""
    return fingerprint if pooling == LAYER4_MEAN else f"{fingerprint}:{pooling}"
