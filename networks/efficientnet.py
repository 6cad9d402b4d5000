"""EfficientNet-Lite0: a small network for phones. Its layers have timm's names.

Tan and Le, EfficientNet (ICML 2019), table 1; the Lite networks have ReLU6, and no squeeze-and-excitation. TensorFlow
pads images of even sides by one pixel less above and at the left. Here all borders are padded alike, as in a ResNet:
the same weights see a grid that is shifted by a pixel.
"""

from __future__ import annotations

from torch import Tensor, nn

from .resnet import convolution

LITE0 = "efficientnet_lite0"

ROWS = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip
"""Rows of the table: kernel, stride of the first block, expansion, channels, number of blocks."""

STAGE_ENDS = (2, 3, 5, 7)
"""The rows before these are a stage each: the maps at their ends have the strides 4, 8, 16 and 32."""

STEM, HEAD = 32, 1280
"""Channels of the first and of the last convolution."""

EPSILON = 1e-3
"""What a BatchNorm adds to the variance: TensorFlow's value."""


class InvertedResidual(nn.Module):
    """Convolutions of 1x1 (more channels), of each channel alone, and of 1x1 (fewer), beside a shortcut.

    Sandler et al., MobileNetV2 (CVPR 2018), figure 4d. With ``expansion`` 1 there is no first convolution. The shortcut
    exists where the output has the shape of the input.
    """

    def __init__(self, inplanes: int, planes: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        width = inplanes * expansion
        by_channel = nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False)
        layers = {"conv_dw": by_channel, "conv_pw": convolution(width, planes, 1)}
        if expansion > 1:
            layers = {
                "conv_pw": convolution(inplanes, width, 1),
                "conv_dw": by_channel,
                "conv_pwl": convolution(width, planes, 1),
            }
        for number, (name, conv) in enumerate(layers.items(), start=1):
            self.add_module(name, conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(conv.out_channels, EPSILON))
        self.relu = nn.ReLU6(inplace=True)
        self.has_shortcut = stride == 1 and inplanes == planes
        self._names = tuple(layers)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for number, name in enumerate(self._names, start=1):
            out = self.get_submodule(f"bn{number}")(self.get_submodule(name)(out))
            if number < len(self._names):
                out = self.relu(out)
        return x + out if self.has_shortcut else out


class EfficientNetLite0(nn.Module):
    """(N, 3, H, W) float -> (N, 1280): the means of the last convolution's maps.

    Without ``initialise`` the weights are not meant to be used: others are loaded.
    """

    def __init__(self, initialise: bool = True):
        super().__init__()
        self.conv_stem = convolution(3, STEM, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(STEM, EPSILON)
        self.relu = nn.ReLU6(inplace=True)
        inplanes, rows = STEM, []
        for kernel, first_stride, expansion, planes, n_blocks in ROWS:
            blocks = []
            for index in range(n_blocks):
                stride = first_stride if index == 0 else 1
                blocks.append(InvertedResidual(inplanes, planes, kernel, stride, expansion))
                inplanes = planes
            rows.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*rows)
        self.conv_head = convolution(inplanes, HEAD, 1)
        self.bn2 = nn.BatchNorm2d(HEAD, EPSILON)
        for module in self.modules() if initialise else ():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.relu(self.bn1(self.conv_stem(x))))
        return self.relu(self.bn2(self.conv_head(x))).mean(dim=(2, 3))
