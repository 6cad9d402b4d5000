"""Pixels of more than 8 bits, and TIFF layouts that Pillow misreads: 16 bits become 8, anything else is refused.

16 bits are divided by 256. Nothing in a file tells 12 bits that are stored in 16 from a dark photograph, so an image
that ends below 1/16 of the range is refused, and so is one that ends exactly where 13, 14 or 15 bits do.
"""

from __future__ import annotations

import contextlib
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, SAMPLEFORMAT
from PIL.TiffImagePlugin import SAMPLESPERPIXEL as CHANNELS

from common.errors import UserError

DEVELOP = "develop it to JPEG, PNG or TIFF first"
CONVERT = "save it as PNG or JPEG with 8 bits"

DARKEST_SHARE = 16
"""An image whose values end below 1/16 of the range is nearly black, or holds fewer bits than it states."""

_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706
_REDUCED_RESOLUTION = 1
_SEPARATE_PLANES = 2
_SIGNED = 2
_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


def check_tiff_layout(image: Image.Image, name: str) -> None:
    """UserError where Pillow would give wrong pixels for this opened, not yet decoded file: some TIFF files.

    The raw files of most makers are TIFF files too, which begin with a preview of another image in them.
    """
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return
    is_reduced = max(_values(tags, _NEW_SUBFILE_TYPE), default=0) & _REDUCED_RESOLUTION
    if _DNG_VERSION in tags or (is_reduced and (_SUB_IFDS in tags or getattr(image, "n_frames", 1) > 1)):
        raise UserError(f"image {name} is a camera's raw file, and its first image is a preview: {DEVELOP}")
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


def is_16_bit(image: Image.Image) -> bool:
    """Whether an opened, not yet decoded image holds 16 bits; Pillow decodes those of most colour images to 8."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", []))


def grey_as_8_bits(image: Image.Image, name: str) -> np.ndarray:
    """uint8 (H, W) of a decoded grey image of mode I, F or I;16; UserError where it does not hold 16 bits."""
    values = np.asarray(image)
    # Pillow's mode I has 32 bits, and is also that of 16 bits in PPM files, and of PNG files before Pillow 11.
    if image.mode == "F" or not (image.mode.startswith("I;16") or image.format in ("PNG", "PPM")):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UserError(f"image {name} holds {kind} values, whose black and white are not certain; {CONVERT}")
    high = int(values.max())
    if image.format != "PPM":  # that states its largest value, and Pillow scales by it
        check_darkness(high, name)
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


def check_darkness(high: int, name: str) -> None:
    """UserError where a 16-bit image ends below 1/16 of its range, but is not all black."""
    if 0 < high < 65536 // DARKEST_SHARE:
        raise UserError(
            f"image {name}: its values end at {high:,d} of 65,535: it holds fewer bits than it states, or is "
            "nearly black, and which of the two is not certain; save it with 8 bits"
        )


def name_tiff_layout(file: BinaryIO) -> str | None:
    """What a TIFF that Pillow does not read holds, for a person; None for any other file."""
    with contextlib.suppress(Exception):  # damaged tags
        file.seek(0)
        header = file.read(8)
        if header[:4] in (b"II+\0", b"MM\0+"):
            header += file.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        channels, kind = max(_values(tags, CHANNELS), default=1), max(_values(tags, SAMPLEFORMAT), default=1)
        bits = max(_values(tags, BITSPERSAMPLE))
        return f"{channels} channel{'s' if channels > 1 else ''} of {bits}-bit {_KINDS.get(kind, 'undefined')} values"
    return None


def _values(tags: Any, tag: int) -> tuple[int, ...]:
    """The values of a TIFF tag; none where it is missing or damaged."""
    try:
        value = tags[tag]
        return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)
    except Exception:  # damaged tags lead Pillow to any exception
        return ()
