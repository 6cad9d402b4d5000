"""Keeps damaged metadata from costing an image: EXIF is read for the orientation alone, other metadata not at all."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

ORIENTATION_TAG = 0x0112

_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientations, and what brings the pixels upright."""


_Exif = Image.Exif


class _TolerantExif(_Exif):
    """EXIF data in which a damaged entry counts as a missing one."""

    def load(self, data: bytes) -> None:
        with contextlib.suppress(Exception):
            super().load(data)

    def load_from_fp(self, fp: Any, offset: int | None = None) -> None:
        with contextlib.suppress(Exception):
            super().load_from_fp(fp, offset)

    def get_ifd(self, tag: int) -> dict[int, Any]:
        try:
            return super().get_ifd(tag)
        except Exception:
            return {}

    def tobytes(self, offset: int = 8) -> bytes:
        try:
            return super().tobytes(offset)
        except Exception:
            # AVIF's plug-in hands over an orientation that is kept outside EXIF in this way.
            orientation_alone = _Exif()
            orientation_alone[ORIENTATION_TAG] = self.get(ORIENTATION_TAG, 1)
            return orientation_alone.tobytes(offset)

    def __getitem__(self, tag: int) -> Any:
        try:
            return super().__getitem__(tag)
        except Exception:
            raise KeyError(tag) from None


@contextlib.contextmanager
def tolerant_exif() -> Iterator[None]:
    """Has Pillow use ``_TolerantExif``: its plugins parse EXIF while they open a file and while they decode it."""
    Image.Exif = _TolerantExif  # type: ignore[misc]  # a class in the place of its base class
    try:
        yield
    finally:
        Image.Exif = _Exif  # type: ignore[misc]


def upright(image: Image.Image) -> Image.Image:
    """The decoded image, turned as its EXIF orientation says.

    ``ImageOps.exif_transpose`` does the same, but writes all EXIF data anew, which fails where it is damaged.
    """
    try:
        method = _METHODS.get(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # damaged metadata leads Pillow to any exception
        return image
    return image.transpose(method) if method is not None else image


def without_metadata(content: bytes) -> bytes | None:
    """A PNG, JPEG, TIFF or AVIF file without the parts that its pixels do not need; None for other formats.

    The orientation is kept. Nothing of the removed parts is parsed.
    """
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png_pixels(content)
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg_pixels(content)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_pixels(content)
        if content[4:12] in (b"ftypavif", b"ftypavis"):
            # The header names the parts of the file by their types; the decoder leaves unknown types alone.
            header, pixels, rest = content.partition(b"mdat")
            return header.replace(b"Exif", b"free") + pixels + rest
    except (struct.error, IndexError):
        pass
    return None


_PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf")


def _png_pixels(content: bytes) -> bytes:
    parts, at = [content[:8]], 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        checksum = zlib.crc32(content[at + 4 : end - 4]).to_bytes(4, "big")
        if kind in _PNG_CHUNKS and (kind != b"eXIf" or checksum == content[end - 4 : end]):
            parts.append(content[at:end])
        elif not content[end + 4 : end + 8].isalpha():
            # The chunk's length is damaged too: what follows begins at the next chunk that the pixels need.
            found = [content.find(needed, at + 4) - 4 for needed in _PNG_CHUNKS]
            end = min((start for start in found if start > at), default=len(content))
        if kind == b"IEND":
            break
        at = end
    return b"".join(parts)


def _jpeg_pixels(content: bytes) -> bytes:
    parts, at = [content[:2]], 2
    while content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == 0xDA:  # the scan begins, and with it the pixels
            break
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        is_exif = marker == 0xE1 and content[at + 4 : at + 10] == b"Exif\0\0"
        # APP0 (JFIF) and APP14 (Adobe) say how colours are encoded.
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)) or is_exif:
            parts.append(content[at:end])
        at = end
    return b"".join([*parts, content[at:]])


_TIFF_TAGS = frozenset([*range(254, 270), 273, 274, *range(277, 282), 284, 292, 293, 317, 320, *range(322, 326), 330])
_TIFF_TAGS |= frozenset([332, 338, 339, 347, *range(529, 533), 50706])
_UNKNOWN_TAG = 65000


def _tiff_pixels(content: bytes) -> bytes:
    """The same file, in which the tags of the first page that its pixels do not need are replaced by unknown ones."""
    order = "<" if content[:2] == b"II" else ">"
    data = bytearray(content)
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (n_entries,) = struct.unpack_from(f"{order}H", data, at)
    for entry in range(at + 2, at + 2 + 12 * n_entries, 12):
        (tag,) = struct.unpack_from(f"{order}H", data, entry)
        if tag not in _TIFF_TAGS:
            struct.pack_into(f"{order}HHI4s", data, entry, _UNKNOWN_TAG, 1, 1, bytes(4))
    return bytes(data)
