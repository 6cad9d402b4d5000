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
from datasets.images.depth import UnknownScaleError, as_8_bits, check_16_bit_colour, stored_bits
from datasets.images.formats import is_camera_raw, is_heif, is_preview, name_other_content
from datasets.images.metadata import tolerant_exif, upright, without_metadata
from datasets.images.tiff_layouts import correct_byte_order, misread_layout, name_layout

# Pillow's own limit warns, and raises at twice the limit; read_image has one that can be set.
Image.MAX_IMAGE_PIXELS = None

# It prints what an exception says too.
logging.getLogger("PIL").addHandler(logging.NullHandler())

CONVERT = "save it as PNG or JPEG with 8 bits"

_UNUSED_ALPHA = ("BMP", "TGA")
"""Formats in which programs leave a fourth channel at zero that nobody means as transparency."""

_BAND = 1024
"""Rows that are copied at once."""

DEVELOP = "develop it to JPEG, PNG or TIFF first"


def read_image(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an image file as RGB, uint8 (H, W, 3), upright by its EXIF orientation.

    Grey is repeated in the three channels; palettes are looked up; transparent pixels lie on white; CMYK is converted
    without its profile; more than 8 bits become 8 as ``datasets.images.depth`` says; of an animation the first frame
    counts. Damaged metadata does not matter. Raises UserError, with the path, for a file that is not a readable image
    or whose values have an unknown scale, for more than ``max_pixels`` pixels, before they are decoded,
    and for an image that does not fit into memory.
    """
    with open_image_file(path) as file:
        return read_open_image(file, os.fspath(path), max_pixels)


def read_open_image(file: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The image in an open file, or in bytes in memory, as ``read_image`` gives it; ``name`` is for messages."""
    try:
        return decode_image(file, name, max_pixels)
    except MemoryError:
        raise UserError(f"image {name} does not fit into memory") from None


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
        _register_heif(name)
    try:
        with warnings.catch_warnings(), tolerant_exif():
            warnings.simplefilter("ignore")
            try:
                return _decode(file, name, max_pixels)
            except (UserError, UnknownScaleError, MemoryError):
                raise
            except Exception:
                # Text, colour profiles and the like can keep Pillow from opening a file or from finishing it.
                file.seek(0)
                pixels_alone = without_metadata(file.read())
                if pixels_alone is None:
                    raise
                return _decode(io.BytesIO(pixels_alone), name, max_pixels)
    except (UserError, MemoryError):
        raise
    except UnknownScaleError as error:
        raise UserError(f"image {name}: {error}; save it with 8 bits") from None
    except Exception as error:  # Pillow's decoders raise any exception for a broken file
        reason = _name_content(file) if isinstance(error, Image.UnidentifiedImageError) else in_short(error)
        raise UserError(f"image {name} cannot be read: {reason}") from None


def _name_content(file: BinaryIO) -> str:
    """What an open file holds that Pillow does not recognise, as a sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layout = name_layout(file)
    if layout is not None:
        return f"it is a TIFF with {layout}, which is not supported; {CONVERT}"
    file.seek(0)
    return name_other_content(file.read(4096))


def _decode(file: BinaryIO | io.BytesIO, name: str, max_pixels: int) -> np.ndarray:
    with Image.open(file) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise UserError(f"image {name} has {width}x{height} pixels, more than --max_pixels {max_pixels:,d} allows")
        if is_preview(image):
            raise UserError(f"image {name} is a camera's raw file, and its first image is a preview: {DEVELOP}")
        misread = misread_layout(image)
        if misread is not None:
            raise UserError(f"image {name} cannot be read: {misread}; {CONVERT}")
        correct_byte_order(image)
        bits = stored_bits(image)
        image.load()
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            grey = Image.fromarray(as_8_bits(image, bits))
            return np.array(upright_like(image, grey).convert("RGB"))
        transparent = image.info.get("transparency")
        if bits == 16 and isinstance(transparent, tuple):  # Pillow brings the pixels to 8 bits, but not this colour
            image.info["transparency"] = tuple(value >> 8 for value in transparent)
        if image.mode == "RGBA" and image.format in _UNUSED_ALPHA and image.getchannel("A").getextrema()[1] == 0:
            image = image.convert("RGB")
        rgb = _as_array(_as_rgb(upright(image)))
        if bits > 8:
            check_16_bit_colour(rgb)
        return rgb


def _as_array(image: Image.Image) -> np.ndarray:
    """The pixels of an RGB image, uint8 (H, W, 3), copied in bands: np.array makes two more copies on the way."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)) if height > _BAND else image)
    return pixels


def upright_like(image: Image.Image, grey: Image.Image) -> Image.Image:
    """``grey``, which was made of ``image`` and has no metadata, turned as the orientation of ``image`` says."""
    grey._exif = image.getexif()
    return upright(grey)


def _register_heif(name: str) -> None:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise UserError(f"image {name} is HEIC, for which pillow-heif is needed (pip install pillow-heif)") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image.getchannel("A"))
        return page
    return image.convert("RGB")
