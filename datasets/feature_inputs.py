"""Images as feature extraction takes them: decoded in worker processes, at full and at half size."""

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
class FeatureInput:
    """One decoded image: uint8 tensors (H, W, 3) and (H//2, W//2, 3), or the reason why there are none."""

    index: int
    full: torch.Tensor | None = None
    half: torch.Tensor | None = None
    error: str = ""


class FeatureInputs(Dataset):
    """``[i]`` is the ``FeatureInput`` of the i-th listed image; a file that cannot be read does not raise."""

    def __init__(self, images: list[ListedImage], max_pixels: int = MAX_PIXELS):
        # One array of bytes: a million Python strings would be copied into every worker by their reference counts.
        self._max_pixels = max_pixels
        self._paths = np.array([image.path.encode(errors="surrogateescape") for image in images])

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> FeatureInput:
        path = self._paths[index].decode(errors="surrogateescape")
        try:
            full = read_image(path, self._max_pixels)
        except UserError as error:
            return FeatureInput(index, error=str(error))
        return FeatureInput(index, torch.from_numpy(full), torch.from_numpy(half_size_exactly(full)))
