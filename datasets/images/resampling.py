"""Antialiased resizing of uint8 images, by Pillow and by torch's faster port of Pillow's filters."""

import numpy as np
from PIL import Image


def resize(image: np.ndarray, width: int, height: int, method: str = "bicubic") -> np.ndarray:
    """Resizes ``image``, uint8 (H, W, 3), to uint8 (height, width, 3).

    ``method`` is "bilinear" or "bicubic"; both widen their kernel when shrinking (antialiasing). Torch's
    fixed-point weights differ from Pillow's in about one value of a million, by 1.
    """
    import torch  # takes two seconds, which commands that only print their help do not wait for

    # One image with channels-last strides: torch then does not have to copy the channels apart and together.
    channels_last = torch.from_numpy(np.ascontiguousarray(image)).unsqueeze(0).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(channels_last, size=(height, width), mode=method, antialias=True)
    return np.ascontiguousarray(resized.squeeze(0).permute(1, 2, 0).numpy())


def half_size_exactly(image: np.ndarray) -> np.ndarray:
    """The image at half size at feature extraction: Pillow's own default resize (bicubic) to (w//2, h//2)."""
    height, width = image.shape[:2]
    return np.array(Image.fromarray(image).resize((max(1, width // 2), max(1, height // 2))))
