"""Layouts of TIFF files that Pillow misreads or does not read: corrected, refused, and named in messages."""

from __future__ import annotations

import contextlib
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import BITSPERSAMPLE, PLANAR_CONFIGURATION, SAMPLEFORMAT, SAMPLESPERPIXEL

SIGNED = 2
"""Value of the tag SAMPLEFORMAT."""
_SEPARATE_PLANES = 2
_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


def correct_byte_order(image: Image.Image) -> None:
    """Has 32-bit values of a compressed big-endian TIFF read as libtiff gives them: in the order of this machine.

    Pillow does so for 16 bits, but changes the order of 32 bits a second time.
    """
    if image.format != "TIFF":
        return
    tiles: list[Any] = image.tile  # type: ignore[attr-defined]  # of a file that has not been decoded
    for number, (codec, extents, offset, args) in enumerate(tiles):
        if codec == "libtiff" and ";32B" in str(args[0]):
            native = (args[0].replace(";32B", ";32N"), *args[1:])
            tile = tiles[number]
            tiles[number] = (
                tile._replace(args=native) if hasattr(tile, "_replace") else (codec, extents, offset, native)
            )


def misread_layout(image: Image.Image) -> str | None:
    """A sentence where Pillow would give wrong pixels for this opened, not yet decoded file; None otherwise."""
    if image.format != "TIFF":
        return None
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = _largest(tags, BITSPERSAMPLE, 1)
    if SIGNED in _values(tags, SAMPLEFORMAT) and bits <= 16:
        return f"it holds signed {bits}-bit values"
    if _largest(tags, PLANAR_CONFIGURATION, 1) == _SEPARATE_PLANES and _largest(tags, SAMPLESPERPIXEL, 1) > 1:
        codecs = {tile[0] for tile in image.tile}  # type: ignore[attr-defined]
        if image.mode == "LA" or (bits > 8 and codecs != {"libtiff"}):
            return f"it stores its {bits}-bit channels one after the other, which Pillow misreads"
    return None


def name_layout(file: BinaryIO) -> str | None:
    """What a TIFF that Pillow does not read holds, for a person; None for any other file."""
    with contextlib.suppress(Exception):  # damaged tags
        file.seek(0)
        header = file.read(8)
        if header[:4] in (b"II+\0", b"MM\0+"):
            header += file.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        samples, bits = _largest(tags, SAMPLESPERPIXEL, 1), max(_values(tags, BITSPERSAMPLE))
        kind = _KINDS.get(_largest(tags, SAMPLEFORMAT, 1), "undefined")
        return f"{samples} channel{'s' if samples > 1 else ''} of {bits}-bit {kind} values"
    return None


def _values(tags: Any, tag: int) -> tuple[int, ...]:
    try:
        value = tags[tag]
        return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)
    except Exception:  # no such tag, or a damaged one
        return ()


def _largest(tags: Any, tag: int, default: int) -> int:
    return max(_values(tags, tag), default=default)
