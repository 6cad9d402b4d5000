"""Images of more than 8 bits -> 8 bits, where the scale is certain; a sentence where it is not.

The rules, for values from ``low`` to ``high`` in the image:

- 16 bits: value / 256. Nothing but the file's own statement (bits per sample, largest sample value) tells 12 bits that
  are stored in 16 from a dark photograph, so an image that ends below a sixteenth of the range is refused, and so is
  one that ends exactly where 13, 14 or 15 bits do.
- floating point: 0 to 1 is black to white, or 0 to 255 is. A largest value from 1.1 to 64 could be of either range.
- 32-bit integers: 0 to 255, or 0 to 65,535, or all of the range if they are unsigned.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT

from datasets.images.tiff_layouts import SIGNED

DARKEST_SHARE = 16
"""An image of unstated scale whose values end below 1/16 of the range is nearly black, or not of that range."""

OVERSHOOT = 0.1
"""Of the range: resizing leaves values a little beyond black and white."""

_MAX_SAMPLE_VALUE = 281  # a tag for which Pillow has no name


class UnknownScaleError(Exception):
    """A sentence on values whose scale is not certain."""


def stored_bits(image: Image.Image) -> int:
    """Bits per sample in the file, before the image is decoded; Pillow decodes most 16-bit colour images to 8."""
    bits = _tiff_tag(image, BITSPERSAMPLE)
    if bits is not None:
        return bits
    tiles = getattr(image, "tile", [])
    rawmodes = [str(argument) for tile in tiles for argument in np.atleast_1d(np.array(tile[3], dtype=object))]
    return 16 if any(";16" in rawmode for rawmode in rawmodes) else 8


def as_8_bits(image: Image.Image, bits: int) -> np.ndarray:
    """uint8 (H, W) of a decoded grey image of mode I, F or I;16, stored with ``bits`` per sample.

    Raises UnknownScaleError where the scale is not certain.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        grey = _from_float(values, low, high)
    elif image.format == "PPM":  # it states its largest value, and Pillow scales by it
        grey = _from_16_bits(values, high, 65535)
    elif image.mode.startswith("I;16") or (bits == 16 and image.format != "TIFF"):
        grey = _from_16_bits(values, high, _largest_value(image))
    elif bits == 16:
        raise UnknownScaleError("it holds signed 16-bit values")
    else:
        if image.format == "TIFF" and _tiff_tag(image, SAMPLEFORMAT) != SIGNED:
            values = np.ascontiguousarray(values).view(np.uint32)  # Pillow's mode I is signed
        grey = _from_32_bits(values)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # PNG's one transparent value: it lies on white
        grey = np.where(values == transparent, np.uint8(255), grey)
    # TIFF's WhiteIsZero, which Pillow inverts for 8 bits alone.
    return 255 - grey if _tiff_tag(image, PHOTOMETRIC_INTERPRETATION) == 0 else grey


def check_16_bit_colour(rgb: np.ndarray) -> None:
    """UnknownScaleError where a 16-bit colour image, which Pillow brought to 8 bits, ends below a sixteenth."""
    high = int(rgb.max())
    if 0 < high < 256 // DARKEST_SHARE:
        raise UnknownScaleError(_too_dark(256 * high, 65535))


def _largest_value(image: Image.Image) -> int | None:
    """The largest sample value, where the file states one."""
    stated = _tiff_tag(image, _MAX_SAMPLE_VALUE)
    if stated is not None and 255 < stated <= 65535:
        return stated
    bits = _tiff_tag(image, BITSPERSAMPLE)
    return 2**bits - 1 if bits is not None and 8 < bits < 16 else None


def _from_16_bits(values: np.ndarray, high: float, largest: int | None) -> np.ndarray:
    if largest is None:
        if 0 < high < 65536 // DARKEST_SHARE:
            raise UnknownScaleError(_too_dark(high, 65535))
        if high in (2**13 - 1, 2**14 - 1, 2**15 - 1):
            raise UnknownScaleError(f"its values end at {high:,.0f}, the largest of fewer than 16 bits")
        return _clipped(values // 256)
    return _clipped(values.astype(np.int64) * 256 // (largest + 1))


def _from_float(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if not np.isfinite([low, high]).all():
        raise UnknownScaleError("it holds values that are not finite")
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return _clipped(np.rint(values * 255))
    if low >= -OVERSHOOT * 255 and 64 <= high <= 255 * (1 + OVERSHOOT):
        return _clipped(np.rint(values))
    raise UnknownScaleError(
        f"its floating-point values go from {low:g} to {high:g}, neither from 0 to 1 nor from 0 to 255"
    )


def _from_32_bits(values: np.ndarray) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low >= 0 and (high == 0 or 256 // DARKEST_SHARE <= high <= 255):
        return _clipped(values)
    if low >= 0 and 65536 // DARKEST_SHARE <= high <= 65535:
        return _clipped(values // 256)
    if values.dtype == np.uint32 and high >= 2**32 // DARKEST_SHARE:
        return _clipped(values >> 24)
    raise UnknownScaleError(f"its 32-bit values go from {low:,.0f} to {high:,.0f}, neither to 255 nor to 65,535")


def _too_dark(high: float, largest: int) -> str:
    return (
        f"its values end at {high:,.0f} of {largest:,d}: it holds fewer bits than it states, or is nearly black, and "
        "which of the two is not certain"
    )


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def _tiff_tag(image: Image.Image, tag: int) -> int | None:
    """The first value of a TIFF tag, where the image is a TIFF and has it."""
    try:
        value = image.tag_v2[tag]  # type: ignore[attr-defined]  # of a TIFF alone
        return int(value[0] if isinstance(value, tuple) else value)
    except Exception:  # no TIFF, no such tag, or a damaged one
        return None
