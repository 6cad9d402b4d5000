"""ResNets (He et al., CVPR 2016) without classifier, with the layers, names and initialisation of torchvision's.

Written here because ``import torchvision.models`` also imports torch's compiler: two seconds before the first score.
The tests compare every architecture with torchvision's: the weights for one seed, and the outputs, are equal.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (N, in, H, W) -> (N, planes, H / stride, W / stride)."""

    expansion: ClassVar[int] = 1

    def __init__(self, n_channels: int, planes: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = _convolution(n_channels, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: (N, in, H, W) -> (N, 4 planes, H / stride, W / stride).

    The stride is at the 3x3 convolution ("ResNet v1.5"), as in torchvision.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, n_channels: int, planes: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = _convolution(n_channels, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _convolution(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _convolution(planes, 4 * planes, 1)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


Block = type[BasicBlock] | type[Bottleneck]

LAYERS: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
"""Architecture -> kind of block, and the number of blocks in each of the four stages (He et al., table 1)."""


class ResNet(nn.Module):
    """(N, 3, H, W) float -> (N, features): the mean of each of the last stage's 512 or 2048 feature maps.

    Weights are random. With ``zero_init_residual`` the weights of each block's last BatchNorm are 0. ``to_be_loaded``
    leaves out the initialisation of weights that a checkpoint replaces. Raises KeyError for an ``arch`` that is not in
    LAYERS.
    """

    def __init__(self, arch: str, zero_init_residual: bool = False, to_be_loaded: bool = False):
        super().__init__()
        block, n_blocks = LAYERS[arch]
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = _stage(block, 64, 64, n_blocks[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, n_blocks[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, n_blocks[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, n_blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Identity()
        if not to_be_loaded:
            # torchvision makes its classifier here. Made and dropped, it lets one seed give the same weights.
            nn.Linear(512 * block.expansion, 1000)
            self._initialise(zero_init_residual)

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Bottleneck):
                    nn.init.zeros_(module.bn3.weight)
                elif isinstance(module, BasicBlock):
                    nn.init.zeros_(module.bn2.weight)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return self.fc(self.avgpool(maps).flatten(1))


def _convolution(n_in: int, n_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, kernel_size=size, stride=stride, padding=size // 2, bias=False)


def _stage(block: Block, n_channels: int, planes: int, n_blocks: int, stride: int) -> nn.Sequential:
    """The blocks of one stage; the first has the stride, and a convolution in its shortcut if the shape changes."""
    n_out = planes * block.expansion
    downsample = None
    if stride != 1 or n_channels != n_out:
        downsample = nn.Sequential(_convolution(n_channels, n_out, 1, stride), nn.BatchNorm2d(n_out))
    first = block(n_channels, planes, stride, downsample)
    return nn.Sequential(first, *(block(n_out, planes, 1, None) for _ in range(n_blocks - 1)))
