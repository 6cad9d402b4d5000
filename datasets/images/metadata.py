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
    """A PNG, JPEG, WebP, TIFF or AVIF file without the parts that its pixels do not need; None for other formats.

    The orientation is kept. Nothing of the removed parts is parsed.
    """
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png_pixels(content)
        if content.startswith(b"\xff\xd8"):
            return _jpeg_pixels(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp_pixels(content)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_pixels(content)
        if content[4:12] in (b"ftypavif", b"ftypavis"):
            # The header names the parts of the file by their types; the decoder leaves unknown types alone.
            header, pixels, rest = content.partition(b"mdat")
            return header.replace(b"Exif", b"free") + pixels + rest
    except (struct.error, IndexError, KeyError, ValueError):
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


_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_SCAN = 0xDA
_JPEG_TABLES = 0xDB
"""Quantisation tables."""
_JPEG_SEGMENTS = frozenset([*range(0xC0, 0xD0), _JPEG_SCAN, _JPEG_TABLES, 0xDD, *range(0xE0, 0xF0), 0xFE])
_JPEG_METADATA = frozenset([*range(0xE1, 0xEE), 0xEF, 0xFE])
"""Application segments but APP0 (JFIF) and APP14 (Adobe), which say how colours are encoded; comments."""
_JPEG_METADATA_NAMES = (b"Exif\0\0", b"http://ns.adobe.com/", b"ICC_PROFILE\0", b"MPF\0", b"Photoshop 3.0\0")
_LONGEST_SEGMENT = 2 + 0xFFFF


def _jpeg_pixels(content: bytes) -> bytes:
    parts, at = [content[:2]], 2
    while content[at : at + 2] != bytes([0xFF, _JPEG_SCAN]):  # the scan, and with it the pixels
        if content[at : at + 2] == b"\xff\xff":  # padding
            at += 1
            continue
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        if _is_jpeg_metadata(content, at):
            if not _jpeg_area(content, end):  # its length is damaged, or that of metadata behind it
                end = _next_jpeg_segment(content, at)
            if content[at + 4 : at + 10] == b"Exif\0\0":
                parts.append(b"\xff\xe1" + struct.pack(">H", end - at - 2) + content[at + 4 : end])
        elif _is_jpeg_segment(content, at):
            parts.append(content[at:end])
        else:
            raise ValueError("a segment that the pixels may need is damaged")
        at = end
    return b"".join([*parts, content[at:]])


def _is_jpeg_segment(content: bytes, at: int) -> bool:
    return content[at] == 0xFF and (content[at + 1] in _JPEG_SEGMENTS or content[at + 1] == 0xFF)


def _is_jpeg_metadata(content: bytes, at: int) -> bool:
    marked = content[at] == 0xFF and content[at + 1] in _JPEG_METADATA
    return marked or content.startswith(_JPEG_METADATA_NAMES, at + 4)


def _next_jpeg_segment(content: bytes, at: int) -> int:
    """Where the segment after the metadata at ``at``, of unknown length, begins; ValueError if that is not certain.

    From there, segments lead to a scan. Thumbnails within the metadata, which are complete JPEG files, are passed over.
    """
    window = content[: at + _LONGEST_SEGMENT + 2]
    areas: dict[int, int] = {}
    start = at + 4
    while (start := window.find(b"\xff", start)) >= 0:
        if window[start : start + 3] == b"\xff\xd8\xff":
            end = content.find(b"\xff\xd9", start)
            start = end + 2 if end >= 0 else len(window)
            continue
        with contextlib.suppress(struct.error, IndexError):
            area = _jpeg_area(content, start)
            if area:
                areas[start] = area
        start += 1
    if not areas:
        raise ValueError("no segments lead to a scan")
    return max(areas, key=lambda start: (areas[start], -start))


def _jpeg_area(content: bytes, at: int) -> int:
    """The number of pixels that the segments from ``at`` to the scan state; 0 where they do not lead to a scan."""
    area, has_tables = 0, False
    while at + 4 <= len(content) and _is_jpeg_segment(content, at):
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _JPEG_SCAN:
            return area if has_tables else 0
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            area = height * width
        has_tables |= marker == _JPEG_TABLES
        at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    return 0


_WEBP_CHUNKS = (b"ALPH", b"VP8 ", b"VP8L", b"EXIF")
_WEBP_ALPHA, _WEBP_EXIF = 0x10, 0x08


def _webp_pixels(content: bytes) -> bytes | None:
    """The still image of a WebP file and its EXIF data, in a new container."""
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, at)
        end = at + 8 + length + length % 2
        if kind in (b"ANIM", b"ANMF"):
            return None
        if kind in _WEBP_CHUNKS:
            chunks.setdefault(kind, content[at + 8 : at + 8 + length])
        if not content[end : end + 4].strip(b" ").isalnum():
            # The length is damaged, or the file ends: what follows begins at the next chunk of a known kind.
            found = [content.find(needed, at + 4) for needed in _WEBP_CHUNKS]
            end = min((start for start in found if start >= 0), default=len(content))
        at = end
    if b"VP8 " in chunks:
        image = chunks[b"VP8 "]
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", image, 6))
        flags = _WEBP_ALPHA if b"ALPH" in chunks else 0
    else:
        (packed,) = struct.unpack_from("<I", chunks[b"VP8L"], 1)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        flags = _WEBP_ALPHA if packed >> 28 & 1 else 0
    flags |= _WEBP_EXIF if b"EXIF" in chunks else 0
    header = struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    parts = [b"VP8X", struct.pack("<I", len(header)), header]
    for kind in _WEBP_CHUNKS:
        if kind in chunks:
            parts += [kind, struct.pack("<I", len(chunks[kind])), chunks[kind], bytes(len(chunks[kind]) % 2)]
    body = b"".join([b"WEBP", *parts])
    return b"RIFF" + struct.pack("<I", len(body)) + body


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
