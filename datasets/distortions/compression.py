"""Compression of KADID-10k: JPEG."""

import cv2
import numpy as np

from datasets.distortions.registry import distortion


@distortion(levels=(70, 43, 36, 24, 7), reach=lambda quality: 16, grid=lambda quality: 16)
def jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Encoded and decoded as JPEG (4:2:0) of that ``quality`` (KADID-10k #10)."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, file = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, int(quality)))
    decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
    assert decoded is not None  # OpenCV wrote the file itself
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
