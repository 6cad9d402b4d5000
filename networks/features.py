"""Images -> features at two scales (Re-IQA, section 3.3): fast, with the same numbers as the plain network."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .checkpoint_formats import fingerprint
from .encoder import amp_dtype, to_input
from .names import LAYER4_MEAN
from .pooling import identity, pooled_network

LARGEST_AT_ONCE = 8_000_000
"""Pixels of an image that the network computes at once; a larger one is computed in strips, with the same features.

A Bottleneck of the first stage holds up to 40 float32 values for each pixel of the image: input, output, and two maps
of a quarter of their channels. The maps of all stages together have 30, and pooling may take 50 more. So a ResNet-50
takes up to 330 bytes for each pixel: 2.7 GB for 8 megapixels.
"""

STRIP_PIXELS = 250_000
"""Pixels of the image in one strip. Its maps take 0.15 GB in a ResNet-50, measured at an image width of 4,000."""


def fold_batchnorm(encoder: nn.Module) -> nn.Module:
    """A copy of an encoder in evaluation mode with every BatchNorm folded into the convolution before it."""
    folded = copy.deepcopy(encoder).eval()
    for module in folded.modules():
        for (_, conv), (second, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None and norm.running_var is not None
                conv.weight, conv.bias = fuse_conv_bn_weights(
                    conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                )
                setattr(module, second, nn.Identity())
    return folded


class FeatureExtractor:
    """An encoder prepared for inference: uint8 images at one scale -> values pooled by one of POOLINGS.

    ``amp`` computes in bfloat16 (float16 on GPUs without it), less exactly. ``normalized`` is True for a
    content-aware encoder. ``identity`` identifies the encoder's weights and the pooling. ``device`` is where the
    features are computed.
    """

    def __init__(
        self, encoder: nn.Module, normalized: bool, device: torch.device, amp: bool = False, pooling: str = LAYER4_MEAN
    ):
        self.identity = identity(fingerprint(encoder.state_dict()), pooling)
        self._normalized = normalized
        self.device = device
        self._dtype = amp_dtype(device) if amp else torch.float32
        folded = fold_batchnorm(encoder).to(device, self._dtype).to(memory_format=torch.channels_last)
        self._encoder = pooled_network(folded, pooling)
        self._folded, self._pooling = folded, pooling

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) on any device -> float32 (N, features) on the extractor's device.

        Images of more than ``LARGEST_AT_ONCE`` pixels are computed one by one in strips.
        """
        # TensorFloat-32, on a GPU, would have an error of 3e-3. None keeps a setting of cuDNN.
        with torch.backends.cudnn.flags(None, None, None, None, allow_tf32=False):
            if images.shape[1] * images.shape[2] > LARGEST_AT_ONCE:
                return torch.cat([self._in_strips(image) for image in images.split(1)]).float()
            return self._encoder(self._prepared(images)).float()

    def _in_strips(self, image: Tensor) -> Tensor:
        """uint8 (1, H, W, 3) -> float64 (1, features)."""
        from .strips import StripNetwork  # few images are so large

        network = StripNetwork(self._folded, self._pooling)
        strips = image.split(max(1, STRIP_PIXELS // image.shape[2]), dim=1)
        for position, strip in enumerate(strips, start=1):
            network.add(self._prepared(strip), last=position == len(strips))
        return network.features()

    def _prepared(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) on any device -> the encoder's input (N, 3, H, W) on its device."""
        # (N, H, W, 3) viewed as (N, 3, H, W) already has the channels-last layout.
        batch = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return to_input(batch, self._normalized).to(self._dtype)
