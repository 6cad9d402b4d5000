"""Any image file, safely, as RGB uint8."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from common.errors import UserError, in_short
from common.names import MAX_PIXELS
from datasets.images.depth import (
    CONVERT,
    DEVELOP,
    check_darkness,
    check_tiff_layout,
    grey_as_8_bits,
    is_16_bit,
    name_tiff_layout,
)
from datasets.images.formats import is_camera_raw, is_heif, name_other_content

# Pillow's own limit warns, and raises at twice the limit; read_image has one that can be set.
Image.MAX_IMAGE_PIXELS = None

# Pillow would print what our callers report.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientations, and what brings the pixels upright."""

_UNUSED_ALPHA = ("BMP", "TGA")
"""Formats in which programs leave a fourth channel at zero that nobody means as transparency."""

_STARTS_AND_ENDS = ((b"\xff\xd8", b"\xff\xd9"), (b"\x89PNG", b"IEND\xaeB`\x82"))
"""JPEG and PNG: how a file begins, and ends where no pixels are missing."""

_BAND = 1024
"""Rows that are copied at once."""


def read_image(path: str | os.PathLike, max_pixels: int = MAX_PIXELS, content: bytes | None = None) -> np.ndarray:
    """Reads an image file as RGB, uint8 (H, W, 3), upright by its EXIF orientation.

    Grey is repeated in the three channels; palettes are looked up; transparent pixels lie on white; CMYK is converted
    without its profile; 16 bits become 8 as ``datasets.images.depth`` says; of an animation the first frame counts.
    ``content`` holds the file's bytes where the caller has them; ``path`` is then a name for messages. Raises
    UserError, with the path, for a file that is not a readable image or whose values have an unknown scale, for more
    than ``max_pixels`` pixels, before they are decoded, and for an image that does not fit into memory.
    """
    with open_image_file(path) if content is None else io.BytesIO(content) as file:
        try:
            return decode_image(file, os.fspath(path), max_pixels)
        except MemoryError:
            raise UserError(f"image {os.fspath(path)} does not fit into memory") from None


@contextlib.contextmanager
def open_image_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a regular file; UserError, with the path, where that is not possible."""
    name = os.fspath(path)
    try:
        # A pipe would block, and a device would be read without end.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            raise UserError(f"image {name} is not a file")
        file = open(path, "rb")  # noqa: SIM115  (closed below, when the caller is done)
    except FileNotFoundError:
        raise UserError(f"image {name} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise UserError(f"image {name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    with file:
        yield file


def decode_image(file: BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    """The image in an open file, as ``read_image`` gives it; ``name`` is its path, for messages.

    Raises UserError like it, but MemoryError for an image that does not fit into memory.
    """
    start = file.read(32)
    file.seek(0)
    if is_camera_raw(name, start):
        raise UserError(f"image {name} is a camera's raw file: {DEVELOP}")
    if is_heif(start):
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError:
            raise UserError(
                f"image {name} is HEIC, for which pillow-heif is needed (pip install pillow-heif)"
            ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file) as image:
                return _decode(image, name, max_pixels)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise any exception for a broken file
            file.seek(0)
            content = file.read()
            pixels = _decode_with_opencv(content, max_pixels)
            if pixels is not None:
                return pixels
            reason = in_short(error)
            if isinstance(error, Image.UnidentifiedImageError):
                layout = name_tiff_layout(file)
                reason = name_other_content(content[:4096])
                if layout is not None:
                    reason = f"it is a TIFF with {layout}, which is not supported; {CONVERT}"
            raise UserError(f"image {name} cannot be read: {reason}") from None


def _decode(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    """uint8 (H, W, 3) of an image that Pillow has opened."""
    width, height = image.size
    if width * height > max_pixels:
        raise UserError(f"image {name} has {width}x{height} pixels, more than --max_pixels {max_pixels:,d} allows")
    check_tiff_layout(image, name)
    has_16_bits = is_16_bit(image)
    image.load()
    try:
        upright = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged metadata leads Pillow to any exception
        upright = None
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = Image.fromarray(grey_as_8_bits(image, name))
        return np.array((image if upright is None else image.transpose(upright)).convert("RGB"))
    transparent = image.info.get("transparency")
    if has_16_bits and isinstance(transparent, tuple):  # Pillow brings the pixels to 8 bits, but not this colour
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    if image.mode == "RGBA" and image.format in _UNUSED_ALPHA and image.getchannel("A").getextrema()[1] == 0:
        image = image.convert("RGB")
    if upright is not None:
        image = image.transpose(upright)
    rgb = _as_rgb(image)
    if has_16_bits:
        check_darkness(256 * int(rgb.max()), name)
    return rgb


def _as_rgb(image: Image.Image) -> np.ndarray:
    """The pixels of an image of any mode of 8 bits, transparent ones on white, uint8 (H, W, 3)."""
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image.getchannel("A"))
        image = page
    elif image.mode != "RGB":
        image = image.convert("RGB")
    # Copied in bands: np.array makes two more copies on the way.
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _BAND):
        bottom = min(top + _BAND, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)) if image.height > _BAND else image)
    return pixels


def _decode_with_opencv(content: bytes, max_pixels: int) -> np.ndarray | None:
    """The pixels, uint8 (H, W, 3), of a file that Pillow refuses for its metadata; None where OpenCV refuses it too.

    OpenCV turns JPEG and PNG by their EXIF orientation, but not WebP and AVIF, and makes up damaged parts of a TIFF or
    of a JPEG that is cut off. It does not put transparent pixels on white, nor say how it scales deep ones. With a
    wrong length of metadata it could take the thumbnail within them for the image. All such files are refused.
    """
    is_complete = any(
        content.startswith(start) and content.rstrip(b"\0").endswith(end) for start, end in _STARTS_AND_ENDS
    )
    if not is_complete or (content.startswith(b"\xff\xd8") and content.count(b"\xff\xd8\xff") > 1):
        return None
    import cv2  # a tenth of a second, which commands that only list images need not wait

    # OpenCV would print what our callers report; the function has another place as of OpenCV 5.
    (cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)
    data = np.frombuffer(content, np.uint8)
    try:
        small = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)  # an eighth as high and wide: tells the size
        if small is None or 64 * small.size > max_pixels:
            return None
        stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if stored is None or stored.dtype != np.uint8 or stored.shape[0] * stored.shape[1] > max_pixels:
            return None
        if stored.ndim == 3 and stored[..., 3:].min(initial=255) < 255:  # transparent
            return None
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
