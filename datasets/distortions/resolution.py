"""Resolution and compression of KADID-10k: resizing down and up, pixels, JPEG.

Resizing is OpenCV's. Its own Lanczos is not antialiased, and torch's port of Pillow's filters
(``datasets.images.resampling``) has none: here it is composed of linear filters.
"""

import functools

import cv2
import numpy as np
from PIL import Image

from datasets.distortions.registry import WHOLE_IMAGE, distortion
from datasets.images.resampling import resize

OPENCV_FINDS_THE_NEAREST = int(cv2.__version__.split(".")[0]) >= 5


def resize_to_nearest(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """``image``, uint8 (H, W, 3), by nearest neighbour: the same pixels as Pillow's."""
    if OPENCV_FINDS_THE_NEAREST:  # twice as fast as Pillow; earlier versions round differently
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST))


def to_uint8(values: np.ndarray, scale: float = 1) -> np.ndarray:
    """``scale`` times ``values``, float32 or int16 (H, W, 3), rounded to 0..255; overwrites negative values.

    OpenCV converts fast only by absolute value.
    """
    _, positive = cv2.threshold(values, 0, 0, cv2.THRESH_TOZERO, dst=values)
    return cv2.convertScaleAbs(positive, alpha=scale)


LANCZOS_LOBES = 3


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < LANCZOS_LOBES, np.sinc(x) * np.sinc(x / LANCZOS_LOBES), 0)


@functools.lru_cache
def _lanczos_phases(factor: int) -> np.ndarray:
    """The kernel's values for the rows that contribute to one reduced row; float32 (factor, 7).

    A block is the ``factor`` rows that become one row. First index: position in the block. Second index: which of the
    blocks -3..3 around the reduced row.
    """
    blocks = np.arange(-LANCZOS_LOBES, LANCZOS_LOBES + 1)
    place_in_block = (np.arange(factor) + 0.5) / factor - 0.5
    return _lanczos(place_in_block[:, None] + blocks).astype(np.float32)


def _reduce_rows(image: np.ndarray, factor: int) -> np.ndarray:
    """``image``, uint8 (H, W, 3), at 1/``factor`` of its height, a multiple of ``factor``; Lanczos, three lobes.

    Rows beyond the edges repeat the edge, where Pillow leaves them out.
    """
    phases = _lanczos_phases(factor)
    # Sums in 64ths: OpenCV filters uint8 to int16 in half the time of float32, and overshoots stay within its range.
    phases = 64 * phases / phases.sum()
    height, width = image.shape[:2]
    total = np.zeros((height // factor, width, 3), np.int16)
    for place, taps in enumerate(phases):
        part = cv2.filter2D(image[place::factor], cv2.CV_16S, taps[:, None], borderType=cv2.BORDER_REPLICATE)
        cv2.add(total, part, dst=total)
    return to_uint8(total, scale=1 / 64)


def _enlarge_rows(image: np.ndarray, factor: int) -> np.ndarray:
    """``image``, uint8 (H, W, 3), at ``factor`` times its height; edges as in ``_reduce_rows``."""
    height, width = image.shape[:2]
    enlarged = np.empty((factor * height, width, 3), np.uint8)
    for place, taps in enumerate(_lanczos_phases(factor)):
        taps = taps[::-1, None] / taps.sum()
        cv2.filter2D(image, -1, taps, dst=enlarged[place::factor], borderType=cv2.BORDER_REPLICATE)
    return enlarged


def lanczos_down_and_up(image: np.ndarray, factor: int) -> np.ndarray:
    """``image``, uint8 (H, W, 3), reduced by ``factor`` and enlarged again, Lanczos with three lobes.

    PSNR against Pillow's result: 44 dB where ``factor`` divides height and width, 41 dB otherwise. Other sizes are
    resized to a multiple of ``factor`` first, and back at the end.
    """
    height, width = image.shape[:2]
    size = (factor * max(1, round(width / factor)), factor * max(1, round(height / factor)))
    if size != (width, height):
        divisible = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        return cv2.resize(lanczos_down_and_up(divisible, factor), (width, height), interpolation=cv2.INTER_CUBIC)
    small = _reduce_rows(cv2.transpose(_reduce_rows(image, factor)), factor)
    return _enlarge_rows(cv2.transpose(_enlarge_rows(small, factor)), factor)


def _down_and_up(image: np.ndarray, factor: float, method: str) -> np.ndarray:
    height, width = image.shape[:2]
    small = resize(image, max(1, round(width / factor)), max(1, round(height / factor)), method)
    return resize(small, width, height, method)


def _nearest_down_and_up(image: np.ndarray, share: float) -> np.ndarray:
    height, width = image.shape[:2]
    small = resize_to_nearest(image, max(1, round(width * share)), max(1, round(height * share)))
    return resize_to_nearest(small, width, height)


_REDUCTIONS = (2, 3, 4, 8, 16)


@distortion(levels=_REDUCTIONS, reach=lambda factor: 5 * int(factor), grid=int)
def resize_bicubic(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Down by ``factor`` (antialiased) and back up, bicubic."""
    return _down_and_up(image, factor, "bicubic")


@distortion(levels=_REDUCTIONS, reach=lambda factor: 3 * int(factor), grid=int)
def resize_bilinear(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Down by ``factor`` (antialiased) and back up, bilinear."""
    return _down_and_up(image, factor, "bilinear")


@distortion(levels=_REDUCTIONS, reach=lambda factor: 7 * int(factor), grid=int)
def resize_lanczos(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Down by ``factor`` (antialiased) and back up, Lanczos with three lobes."""
    return lanczos_down_and_up(image, int(factor))


@distortion(levels=(2, 3, 4, 5, 6), reach=int, grid=int)
def resize_nearest(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Down by ``factor`` and back up, nearest neighbour."""
    return _nearest_down_and_up(image, 1 / factor)


@distortion(levels=(0.01, 0.05, 0.1, 0.2, 0.5), reach=lambda amount: WHOLE_IMAGE)
def pixelate(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Nearest neighbour down to the share 0.95 - ``amount``^0.6 of the size and back up (KADID-10k #20)."""
    return _nearest_down_and_up(image, 0.95 - amount**0.6)


@distortion(levels=(70, 43, 36, 24, 7), reach=lambda quality: 16, grid=lambda quality: 16)
def jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Encoded and decoded as JPEG (4:2:0) of that ``quality`` (KADID-10k #10)."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, file = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, int(quality)))
    decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
    assert decoded is not None  # OpenCV wrote the file itself
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
