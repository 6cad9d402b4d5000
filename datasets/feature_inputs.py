"""Images for feature extraction: decoded in worker processes, at full and at half size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from common.errors import UserError
from datasets.image_lists import ListedImage
from datasets.images import MAX_PIXELS, read_image
from datasets.resampling import half_size_exactly


@dataclass(frozen=True)
class DecodedImage:
    """The image at ``index`` of a list: uint8 (H, W, 3), and at half size (H//2, W//2, 3)."""

    index: int
    path: str
    full: torch.Tensor
    half: torch.Tensor

    @property
    def n_pixels(self) -> int:
        return self.full.shape[0] * self.full.shape[1]


@dataclass(frozen=True)
class UnreadableImage:
    """The image at ``index`` of a list could not be read; ``reason`` is a sentence that names it."""

    index: int
    reason: str


class FeatureInputs(Dataset):
    """``[i]`` is the i-th listed image, decoded, or the reason why it cannot be: a bad file does not raise."""

    def __init__(self, images: list[ListedImage], max_pixels: int = MAX_PIXELS):
        # One array of bytes: a million Python strings would be copied into every worker by their reference counts.
        self._max_pixels = max_pixels
        self._paths = np.array([image.path.encode(errors="surrogateescape") for image in images])

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> DecodedImage | UnreadableImage:
        path = self._paths[index].decode(errors="surrogateescape")
        try:
            full = read_image(path, self._max_pixels)
        except UserError as error:
            return UnreadableImage(index, str(error))
        return DecodedImage(index, path, torch.from_numpy(full), torch.from_numpy(half_size_exactly(full)))
