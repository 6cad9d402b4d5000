"""Damaged metadata: the pixels come out as they are and upright, or the file is refused; never any other pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from networks.errors import UserError
from networks.images.reading import read_image
from tests.images import photograph

SAVED = {
    "png": {},
    "jpg": {"quality": 98, "subsampling": 0},
    "tiff": {},
    "lzw.tiff": {"compression": "tiff_lzw"},
    "webp": {"lossless": True},
    "avif": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("ending", SAVED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format(tmp_path, ending, orientation):
    blocks = np.kron(np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(blocks).save(tmp_path / f"a.{ending}", exif=exif, **SAVED[ending])
    flipped = blocks[:, ::-1] if orientation in (2, 4, 5, 7) else blocks
    expected = np.rot90(flipped, {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation])
    image = read_image(tmp_path / f"a.{ending}")
    assert image.shape == expected.shape and np.abs(image.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("ending", [ending for ending in SAVED if ending not in ("avif", "png")])
def test_damaged_metadata_leaves_the_pixels(tmp_path, ending):
    """Bytes of EXIF, profile and text are overwritten at random: the same pixels come out."""
    exif = Image.Exif()
    exif[0x010F] = "maker" * 20
    exif.get_ifd(0x8769)[0x927C] = b"m" * 50
    rng = np.random.default_rng(0)
    profile = rng.bytes(600)
    about = {"exif": exif, "icc_profile": profile}
    path = tmp_path / f"a.{ending}"
    Image.fromarray(photograph(40, 56)).save(path, **SAVED[ending], **about)
    content, expected = path.read_bytes(), read_image(path)
    metadata = [profile, b"maker" * 20, b"m" * 50, b"Exif\0\0II", b"MM\0*\0\0\0\x08"]
    spans = [(content.find(part), len(part)) for part in metadata if part in content[12:]]
    assert len(spans) >= 2
    for _ in range(150):
        damaged = bytearray(content)
        start, length = spans[rng.integers(len(spans))]
        for at in rng.integers(start, start + length, rng.integers(1, 12)):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        assert np.array_equal(read_image(path), expected)


BOMB = zlib.compress(bytes(100_000_000), level=1)


def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png_with(added, behind, exif):
    """A PNG with a chunk before or behind its pixels, and the image that was saved."""
    pixels = photograph(20, 30)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    content = buffer.getvalue()
    at = content.index(b"IEND") - 4 if behind else 33
    return content[:at] + added + content[at:], pixels


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"zTXt", b"a\0\0" + BOMB),
        chunk(b"iCCP", b"a\0\0" + BOMB),
        chunk(b"tEXt", b"a\0" + bytes(20_000_000)),
        chunk(b"iTXt", b"broken"),
    ],
    ids=["text bomb", "profile bomb", "long text", "broken text"],
)
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_long_and_broken_texts_of_a_png(tmp_path, added, behind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content, pixels = png_with(added, behind, exif)
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(pixels, -1) if orientation == 6 else pixels)


def with_thumbnail(content, thumbnail):
    """The JPEG ``content`` with an EXIF segment that holds a thumbnail, as cameras write it."""
    directory = struct.pack("<H", 1) + struct.pack("<HHII", 0x0112, 3, 1, 1) + struct.pack("<I", 26)
    entries = [(0x0103, 3, 6), (0x0201, 4, 68), (0x0202, 4, len(thumbnail))]
    of_thumbnail = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in entries)
    exif = b"Exif\0\0" + b"II*\0\x08\0\0\0" + directory + of_thumbnail + bytes(4)
    exif += thumbnail
    return content[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + content[2:], 4 + len(exif)


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_a_damaged_jpeg_segment_never_gives_the_thumbnail(tmp_path):
    """Each byte of the EXIF segment, its marker and length too, is damaged: the photograph comes out, or a refusal."""
    photo = photograph(40, 56)
    thumbnail = jpeg(255 - photo[::2, ::2], quality=50, optimize=True)
    content, n_bytes = with_thumbnail(jpeg(photo, quality=95, optimize=True), thumbnail)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    expected, n_refused = read_image(path), 0
    assert expected.shape == photo.shape
    for at in range(2, 2 + n_bytes):
        for value in (0, 0xFF, content[at] ^ 0x10):
            path.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
            try:
                assert np.array_equal(read_image(path), expected)
            except UserError:
                n_refused += 1
    assert n_refused <= 12


@pytest.mark.parametrize("length", [2, 9, 200, 5000, 0xFFFF])
@pytest.mark.parametrize("turned", [False, True])
def test_a_wrong_length_of_jpeg_metadata(tmp_path, length, turned):
    """One that goes beyond the metadata, into the pixels, is refused."""
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    content = jpeg(photograph(40, 56), exif=exif, icc_profile=bytes(range(256)), quality=95)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    expected = read_image(path)
    assert expected.shape == ((56, 40, 3) if turned else (40, 56, 3))
    for segment in (b"Exif\0\0", b"ICC_PROFILE\0"):
        at = content.index(segment) - 2
        damaged = content[:at] + struct.pack(">H", length) + content[at + 2 :]
        path.write_bytes(damaged)
        if length >= 5000:
            with pytest.raises(UserError, match=r"a.jpg cannot be read"):
                read_image(path)
            continue
        # EXIF that is cut off before its first entry says nothing of the orientation.
        lost = turned and segment == b"Exif\0\0" and length < 20
        assert np.array_equal(read_image(path), np.rot90(expected) if lost else expected)
        path.write_bytes(damaged[: len(damaged) // 2])
        with pytest.raises(UserError, match=r"a.jpg cannot be read"):  # what is cut off is not made up
            read_image(path)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 90}])
@pytest.mark.parametrize("length", [0, 7, 300, 2**31])
def test_a_wrong_length_of_webp_metadata(tmp_path, options, length):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.webp"
    Image.fromarray(photograph(40, 56)).save(
        path, exif=exif, icc_profile=bytes(range(1, 256)), xmp=b"x" * 99, **options
    )
    content, expected = path.read_bytes(), read_image(path)
    for chunk_name in (b"ICCP", b"XMP ", b"EXIF"):
        at = content.index(chunk_name) + 4
        path.write_bytes(content[:at] + struct.pack("<I", length) + content[at + 4 :])
        try:
            image = read_image(path)
        except UserError:
            continue
        # EXIF of a wrong length is cut off: then the orientation may be lost, and nothing else.
        upright = chunk_name == b"EXIF" and image.shape != expected.shape
        assert np.array_equal(np.rot90(image, -1) if upright else image, expected)
