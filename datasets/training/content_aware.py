"""Images -> two random views each, for the content-aware encoder (MoCo: He et al. 2020; v2: Chen et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from datasets.training.image_lists import EpochImages, TrainingImages
from networks.images.formats import MAX_PIXELS


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian of ``sigma`` pixels on uint8 (3, H, W); OpenCV's is 50 times as fast as torchvision's."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    blurred = cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return torch.from_numpy(blurred).permute(2, 0, 1)


def turn_hue(image: Tensor, turn: float) -> Tensor:
    """Rotates the hue by ``turn``, a share of the circle, on uint8 (3, H, W).

    torchvision's arithmetic in OpenCV's HSV with 256 hues, which takes a tenth of torchvision's time.
    """
    hsv = cv2.cvtColor(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(256 * turn) % 256)  # wraps around, as a circle does
    return torch.from_numpy(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)).permute(2, 0, 1)


def _at_random(change: Callable[[Tensor, float], Tensor], low: float, high: float, image: Tensor) -> Tensor:
    """``change`` by an amount that is drawn uniformly."""
    return change(image, torch.empty(1).uniform_(low, high).item())


def build_views(method: str, size: int) -> v2.Transform:
    """The random view of a method, uint8 (3, H, W) -> uint8 (3, size, size); normalisation is left to the device.

    "MoCo" is version 1's view: colour jitter is stronger and always on, and there is no blur. Any other name is 2's.
    """
    crop, grey, flip = v2.RandomResizedCrop(size, scale=(0.2, 1)), v2.RandomGrayscale(0.2), v2.RandomHorizontalFlip()
    jitter = v2.ColorJitter(0.4, 0.4, 0.4)
    if method == "MoCo":
        return v2.Compose([crop, grey, jitter, partial(_at_random, turn_hue, -0.4, 0.4), flip])
    jitter = v2.RandomApply([jitter, partial(_at_random, turn_hue, -0.1, 0.1)], p=0.8)
    blurred = v2.RandomApply([partial(_at_random, blur, 0.1, 2.0)], p=0.5)
    return v2.Compose([crop, jitter, grey, blurred, flip])


class ContentAwareDataset(EpochImages):
    """``[i]`` is a uint8 tensor (1, 6, P, P): two views of image i, as query (channels 0-2) and key (3-5).

    It is a chunk of one row without distortions, so that one trainer serves both encoders. It depends on (seed, epoch,
    i) alone.
    """

    def __init__(
        self,
        images: TrainingImages,
        method: str = "MoCov2",
        patch_size: int = 224,
        seed: int = 0,
        max_pixels: int = MAX_PIXELS,
    ):
        super().__init__(images, seed, max_pixels)
        self._view = build_views(method, patch_size)

    def sample(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        image = torch.from_numpy(self.read(epoch, index)).permute(2, 0, 1)
        seed = int(np.random.SeedSequence((self.seed, epoch, index)).generate_state(1, np.uint64)[0] >> 1)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
            torch.default_generator.manual_seed(seed)
            crops = torch.cat([self._view(image), self._view(image)])
        return crops.unsqueeze(0), torch.empty(1, 0, dtype=torch.uint8)
