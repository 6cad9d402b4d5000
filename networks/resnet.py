"""ResNet (He et al. 2016), layer for layer torchvision's: the same names, outputs and initial weights.

Written again, though torchvision has it, because ``import torchvision`` takes as long as all else that the score of a
photograph needs. The tests hold it against torchvision's.
"""

from __future__ import annotations

from torch import Tensor, nn

LAYERS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
"""Architecture -> number of blocks in each of the four stages."""

WIDTH = 64
"""Channels after the first convolution; each further stage has twice as many. Tests use narrower networks."""


class BasicBlock(nn.Module):
    """Two convolutions of 3x3 beside a shortcut (figure 5, left), in ResNets of 18 and 34 layers."""

    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = convolution(inplanes, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = convolution(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 beside a shortcut (figure 5, right); the 3x3 one has the stride."""

    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = convolution(inplanes, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = convolution(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = convolution(planes, planes * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """(N, 3, H, W) float -> (N, C): the means of the last stage's maps, C = 512 (18 and 34 layers) or 2048.

    With ``zero_init_residual`` the weights of each block's last BatchNorm are 0 at first (Goyal et al. 2017). Without
    ``initialise`` the weights are not meant to be used: others are loaded.
    """

    def __init__(self, arch: str, zero_init_residual: bool = False, initialise: bool = True):
        super().__init__()
        block = BasicBlock if arch in ("resnet18", "resnet34") else Bottleneck
        self.conv1 = convolution(3, WIDTH, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        inplanes, stages = WIDTH, []
        for stage, n_blocks in enumerate(LAYERS[arch]):
            planes = WIDTH * 2**stage
            blocks = []
            for index in range(n_blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                width, downsample = planes * block.expansion, None
                if stride != 1 or inplanes != width:  # the output has another shape than the input
                    downsample = nn.Sequential(convolution(inplanes, width, 1, stride), nn.BatchNorm2d(width))
                blocks.append(block(inplanes, planes, stride, downsample))
                inplanes = width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        # torchvision's classifier is not needed, but the weights after it come from the same random numbers.
        nn.Linear(inplanes, 1000)
        for module in self.modules() if initialise else ():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_((module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.avgpool(x).flatten(1)


def convolution(inplanes: int, planes: int, side: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps height and width, but for its stride."""
    return nn.Conv2d(inplanes, planes, side, stride, padding=side // 2, bias=False)
