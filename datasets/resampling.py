"""Antialiased resizing of uint8 images, to the value what Pillow's ``Image.resize`` gives.

Torch carries a vectorised port of Pillow's filter for the bilinear and the bicubic kernel; Lanczos is Pillow itself.
"""

import numpy as np
import torch
from PIL import Image


def resize(image: np.ndarray, width: int, height: int, method: str = "bicubic") -> np.ndarray:
    """Resizes ``image``, uint8 (H, W, 3), to uint8 (height, width, 3).

    ``method`` is "bilinear", "bicubic" or "lanczos"; all three widen their kernel when shrinking, so that nothing
    aliases. Torch's fixed-point weights differ from Pillow's in about one value of a million, by 1.
    """
    if method == "lanczos":
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    # A batch of one whose strides say channels last: torch then neither unpacks nor packs the channels.
    channels_last = torch.from_numpy(np.ascontiguousarray(image)).unsqueeze(0).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(channels_last, size=(height, width), mode=method, antialias=True)
    return np.ascontiguousarray(resized.squeeze(0).permute(1, 2, 0).numpy())


def half_size(image: np.ndarray) -> np.ndarray:
    """The image at half size in training, (H//2, W//2, 3)."""
    height, width = image.shape[:2]
    return resize(image, max(1, width // 2), max(1, height // 2))


def half_size_exactly(image: np.ndarray) -> np.ndarray:
    """The image at half size at feature extraction: Pillow's own default resize (bicubic) to (w//2, h//2)."""
    height, width = image.shape[:2]
    return np.array(Image.fromarray(image).resize((max(1, width // 2), max(1, height // 2))))
