"""Compression of KADID-10k: JPEG."""

import io

import numpy as np
from PIL import Image

from datasets.distortions.registry import distortion


@distortion(levels=(70, 43, 36, 24, 7), reach=lambda quality: 16, grid=lambda quality: 16)
def jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Written and read back as JPEG (4:2:0) of that ``quality`` (KADID-10k #10)."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(quality))
    return np.array(Image.open(file))
