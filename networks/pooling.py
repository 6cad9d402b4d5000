"""Pooling: the feature maps of a ResNet -> the features of an image, in one of three ways (POOLINGS)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.names import LAYER4_MEAN, POOLINGS, STAGES_CENTER_LOG, STAGES_MEAN_STD
from networks.encoder import feature_size, stage_channels, stage_maps

CENTER = 0.3
"""Standard deviation of the Gaussian that weights the places of a map, as a part of the map's height and width.

People look at the middle of a photograph first, and most subjects are there. The middle counts 4 times as much as the
middle of a border, and 16 times as much as a corner.
"""

FLOOR = 0.01
"""What a mean and a deviation have at least in a logarithm. Of the values on photographs, 1 in 20 is smaller."""


class StagesMeanStd(nn.Module):
    """(N, 3, H, W) -> (N, F): for each of the four stages the means of its maps, then their standard deviations.

    Deviations are those of the population: 0 for a map of one value. F is 1920 for ResNet-18, 7680 for ResNet-50. The
    result is float32, or float64 for float64 images.
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


class StagesCenterLog(StagesMeanStd):
    """As StagesMeanStd, but of means and deviations that weight the middle more, the logarithms.

    The weights are Gaussian (``CENTER``). The values are log(mean + floor) and log(variance + floor^2) / 2, so a linear
    regressor sees by what factor a map's values are larger. Both have a gradient also where a map has one value.
    """

    def pool(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        height, width = (place_weights(STAGES_CENTER_LOG, size, maps) for size in maps.shape[2:])
        return pooled_values(STAGES_CENTER_LOG, *map_moments(*row_moments(maps, width), height))

    def local_sum(self, maps: Tensor, of_first: Tensor, of_second: Tensor) -> Tensor:
        """The sum, distributed by the derivatives of the logarithms, without regard to how much a place counts."""
        height, width = (place_weights(STAGES_CENTER_LOG, size, maps) for size in maps.shape[2:])
        means, variances = map_moments(*row_moments(maps, width), height)
        first, second = pooled_values(STAGES_CENTER_LOG, means, variances)
        total = first @ of_first + second @ of_second
        per_value = of_first / (means + FLOOR)
        per_square = of_second / (2 * (variances + FLOOR**2))
        squares = (maps - means[:, :, None, None]).square()
        places = torch.einsum("nchw,nc->nhw", maps, per_value) + torch.einsum("nchw,nc->nhw", squares, per_square)
        return places + (total - places.mean(dim=(1, 2)))[:, None, None]


def place_weights(pooling: str, size: int, like: Tensor) -> Tensor:
    """(size,) with the sum 1: how much each row or column of a map counts; type and device are those of ``like``."""
    if pooling != STAGES_CENTER_LOG:
        return like.new_full((size,), 1 / size)
    places = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size - 0.5
    weights = torch.exp(-0.5 * (places / CENTER).square())
    return weights / weights.sum()


def row_moments(maps: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Means and variances of each row of (N, C, h, w), whose columns count ``columns`` (w,): (N, C, h) each."""
    means = maps @ columns
    return means, (maps - means[..., None]).square() @ columns


def map_moments(means: Tensor, variances: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Means and variances (N, C) of maps from those of their rows (N, C, h), which count ``rows`` (h,).

    The law of total variance. Sums of squares would lose small variances beside a large mean.
    """
    mean = means @ rows
    return mean, (variances + (means - mean[..., None]).square()) @ rows


def pooled_values(pooling: str, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """The two values that a pooling of all stages makes of a map's mean and variance."""
    if pooling == STAGES_MEAN_STD:
        return means, variances.sqrt()
    return (means + FLOOR).log(), (variances + FLOOR**2).log() / 2


def check_pooling(pooling: str) -> None:
    """ValueError for anything but one of POOLINGS."""
    if pooling not in POOLINGS:
        raise ValueError(f"unknown pooling '{pooling}'; one of {', '.join(POOLINGS)}")


def pooled_network(encoder: nn.Module, pooling: str) -> nn.Module:
    """``encoder`` with one of POOLINGS: (N, 3, H, W) -> (N, F); ValueError for another pooling."""
    check_pooling(pooling)
    if pooling == LAYER4_MEAN:
        return encoder
    return StagesMeanStd(encoder) if pooling == STAGES_MEAN_STD else StagesCenterLog(encoder)


def pooled_size(encoder: nn.Module, pooling: str) -> int:
    """The number of values that ``pooled_network`` returns for an image; ValueError for an unknown pooling."""
    check_pooling(pooling)
    return feature_size(encoder) if pooling == LAYER4_MEAN else 2 * sum(stage_channels(encoder))


def identity(fingerprint: str, pooling: str) -> str:
    """Identifies features: the encoder's fingerprint and the pooling, which is left out if it is the released one."""
    return fingerprint if pooling == LAYER4_MEAN else f"{fingerprint}:{pooling}"
