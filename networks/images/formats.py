"""Which files are images: by their ending, and without one by their first bytes."""

from __future__ import annotations

import os

from ..errors import name_failed_download

MAX_PIXELS = 250_000_000
"""More than any camera's photograph has (200 megapixels): a file that claims more is a decompression bomb."""

IMAGE_SUFFIXES = frozenset(
    """.apng .avif .avifs .bmp .bw .cur .dcx .dds .dib .flc .fli .ftc .ftu .gbr .gif .heic .heif .hif .icb .icns .ico
    .im .j2c .j2k .jfif .jif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .mpo .msp .pbm .pcd .pcx .pfm .pgm .png .pnm .ppm .psd
    .pxr .qoi .ras .rgb .rgba .sgi .tga .tif .tiff .vda .vst .webp .xbm .xpm""".split()  # noqa: SIM905
)
"""What Pillow decodes by itself; not drawings (PDF, EPS, WMF), films, and containers of measurements (FITS, HDF5)."""

RAW_SUFFIXES = frozenset(
    """.3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2
    .rwl .sr2 .srf .srw .x3f""".split()  # noqa: SIM905
)
"""Camera raw files. Pillow takes the preview in some of them for the photograph."""

CONVERT = "save it as PNG or JPEG with 8 bits"
"""The remedy for an image that is not read."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"qoif", b"8BPS",
           b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51")  # fmt: skip


def is_heif(start: bytes) -> bool:
    """Whether a file that starts like this is HEIC (HEIF with HEVC), which Pillow needs a plug-in for."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS and b"avif" not in start


def starts_like_an_image(start: bytes) -> bool:
    """Whether a file whose name has no ending is an image, by its first 32 bytes."""
    if start.startswith(_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return True
    if start[:1] == b"P" and start[1:2] in b"123456f" and start[2:3] in b" \t\r\n#":
        return True
    return start[4:8] == b"ftyp" and (is_heif(start) or start[8:12] in (b"avif", b"avis"))


def is_camera_raw(name: str | os.PathLike, start: bytes) -> bool:
    """Whether a file is a camera's raw file, by its name, or a Canon's by its first bytes."""
    suffix = os.path.splitext(os.fspath(name))[1].lower()
    is_canon = (start[:4] == b"II*\0" and start[8:10] == b"CR") or start[4:11] == b"ftypcrx"
    return suffix in RAW_SUFFIXES or is_canon


def name_other_content(start: bytes) -> str:
    """What a file is that Pillow does not recognise, by its first bytes, as a sentence without a full stop."""
    if failed := name_failed_download(start):
        return f"it {failed}"
    if starts_like_an_image(start):
        kinds = "a TIFF with floating-point values, or a JPEG with 12 bits"
        return f"it is a damaged image, or one of a rare kind, such as {kinds}; {CONVERT}"
    return f"it is not an image, or one of a kind that is not read; {CONVERT}"
