"""Any image file, safely, as RGB uint8.

Of pixels of more than 8 bits, 16 bits are divided by 256, and anything else is refused. Nothing in a file tells 12 bits
that are stored in 16 from a dark photograph, so an image that ends below 1/16 of the range is refused, and so is one
that ends exactly where 13, 14 or 15 bits do.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, SAMPLEFORMAT
from PIL.TiffImagePlugin import SAMPLESPERPIXEL as CHANNELS

from ..errors import UserError, in_short
from .formats import CONVERT, MAX_PIXELS, is_camera_raw, is_heif, name_other_content

# Pillow's own limit warns, and raises at twice the limit; read_image has one that can be set. Long texts and profiles
# in a PNG file are no reason to refuse it. A program that imports the package re_iqa keeps Pillow's limits.
if __name__.startswith("networks."):
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 28

# Pillow would print what our callers report.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_UNUSED_ALPHA = ("BMP", "TGA")
"""Formats in which programs leave a fourth channel at zero that nobody means as transparency."""

_BAND = 1024
"""Rows that are copied at once."""

_DEVELOP = "develop it to JPEG, PNG or TIFF first"

_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706
_REDUCED_RESOLUTION = 1
_SEPARATE_PLANES = 2
_SIGNED = 2


def read_image(path: str | os.PathLike, max_pixels: int = MAX_PIXELS, content: bytes | None = None) -> np.ndarray:
    """Reads an image file as RGB, uint8 (H, W, 3), upright by its EXIF orientation.

    Grey is repeated in the three channels; palettes are looked up; transparent pixels lie on white; CMYK is converted
    without its profile; 16 bits become 8; of an animation the first frame counts. ``content`` holds the file's bytes
    where the caller has them; ``path`` is then a name for messages. Raises
    UserError, with the path, for a file that is not a readable image or whose values have an unknown scale, for more
    than ``max_pixels`` pixels, before they are decoded, and for an image that does not fit into memory.
    """
    with open_image_file(path) if content is None else io.BytesIO(content) as file:
        try:
            return decode_image(file, os.fspath(path), max_pixels)
        except MemoryError:
            raise UserError(f"image {os.fspath(path)} does not fit into memory") from None


def longer_side(path: str | os.PathLike) -> int | None:
    """The longer side of an image in pixels, from the header of its file; None where Pillow finds none."""
    try:
        with open_image_file(path) as file, Image.open(file) as image:
            return max(image.size)
    except Exception:  # Pillow's readers raise any exception for a broken file
        return None


def reduced(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """``image``, uint8 (H, W, 3), reduced (bicubic, antialiased) so that its longer side is at most ``max_side``.

    A smaller image stays as it is; so does any image where ``max_side`` is None or 0.
    """
    if not max_side or max(image.shape[:2]) <= max_side:
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((max_side, max_side), reducing_gap=None)  # in one step: a gap would reduce it coarsely first
    return np.array(picture)


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
        raise UserError(f"image {name} is a camera's raw file: {_DEVELOP}")
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
            unknown = isinstance(error, Image.UnidentifiedImageError)
            reason = name_other_content(file.read(4096)) if unknown else in_short(error)
            raise UserError(f"image {name} cannot be read: {reason}") from None


def _decode(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    """uint8 (H, W, 3) of an image that Pillow has opened."""
    width, height = image.size
    if width * height > max_pixels:
        raise UserError(f"image {name} has {width}x{height} pixels, more than --max_pixels {max_pixels:,d} allows")
    _check_tiff_layout(image, name)
    has_16_bits = any(";16" in str(tile[3]) for tile in getattr(image, "tile", []))  # most decode to 8 bits
    image.load()
    with contextlib.suppress(Exception):  # damaged metadata leads Pillow to any exception
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return np.array(Image.fromarray(_grey_as_8_bits(image, name)).convert("RGB"))
    transparent = image.info.get("transparency")
    if has_16_bits and isinstance(transparent, tuple):  # Pillow brings the pixels to 8 bits, but not this colour
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    if image.mode == "RGBA" and image.format in _UNUSED_ALPHA and image.getchannel("A").getextrema()[1] == 0:
        image = image.convert("RGB")
    rgb = _as_rgb(image)
    if has_16_bits:
        _check_darkness(256 * int(rgb.max()), name)
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


# Pixels of more than 8 bits, and TIFF layouts that Pillow misreads.


def _check_tiff_layout(image: Image.Image, name: str) -> None:
    """UserError where Pillow would give wrong pixels for this opened, not yet decoded file: some TIFF files.

    The raw files of most makers are TIFF files too, which begin with a preview of another image in them.
    """
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return
    is_reduced = max(_values(tags, _NEW_SUBFILE_TYPE), default=0) & _REDUCED_RESOLUTION
    if _DNG_VERSION in tags or (is_reduced and (_SUB_IFDS in tags or getattr(image, "n_frames", 1) > 1)):
        raise UserError(f"image {name} is a camera's raw file, and its first image is a preview: {_DEVELOP}")
    bits = max(_values(tags, BITSPERSAMPLE), default=1)
    reason = None
    if _SIGNED in _values(tags, SAMPLEFORMAT) and bits <= 16:
        reason = f"it holds signed {bits}-bit values"
    if _values(tags, PLANAR_CONFIGURATION) == (_SEPARATE_PLANES,) and max(_values(tags, CHANNELS), default=1) > 1:
        codecs = {tile[0] for tile in image.tile}  # type: ignore[attr-defined]  # of a file that is not decoded yet
        if image.mode == "LA" or (bits > 8 and codecs != {"libtiff"}):
            reason = f"it stores its {bits}-bit channels one after the other, which Pillow misreads"
    if reason is not None:
        raise UserError(f"image {name} cannot be read: {reason}; {CONVERT}")


def _grey_as_8_bits(image: Image.Image, name: str) -> np.ndarray:
    """uint8 (H, W) of a decoded grey image of mode I, F or I;16; UserError where it does not hold 16 bits."""
    values = np.asarray(image)
    # Pillow's mode I has 32 bits, and is also that of 16 bits in PPM files, and of PNG files before Pillow 11.
    if image.mode == "F" or not (image.mode.startswith("I;16") or image.format in ("PNG", "PPM")):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UserError(f"image {name} holds {kind} values, whose black and white are not certain; {CONVERT}")
    high = int(values.max())
    if image.format != "PPM":  # that states its largest value, and Pillow scales by it
        _check_darkness(high, name)
        if high in (2**13 - 1, 2**14 - 1, 2**15 - 1):
            raise UserError(
                f"image {name}: its values end at {high:,d}, the largest of fewer than 16 bits; save it with 8 bits"
            )
    grey = np.clip(values // 256, 0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # PNG's one transparent value: it lies on white
        grey = np.where(values == transparent, np.uint8(255), grey)
    # TIFF's WhiteIsZero, which Pillow inverts for 8 bits alone.
    return 255 - grey if _values(getattr(image, "tag_v2", {}), PHOTOMETRIC_INTERPRETATION) == (0,) else grey


def _check_darkness(high: int, name: str) -> None:
    """UserError where a 16-bit image ends below 1/16 of its range, but is not all black."""
    if 0 < high < 65536 // 16:
        raise UserError(
            f"image {name}: its values end at {high:,d} of 65,535: it holds fewer bits than it states, or is "
            "nearly black, and which of the two is not certain; save it with 8 bits"
        )


def _values(tags: Any, tag: int) -> tuple[int, ...]:
    """The values of a TIFF tag; none where it is missing or damaged."""
    try:
        value = tags[tag]
        return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)
    except Exception:  # damaged tags lead Pillow to any exception
        return ()
