"""Metadata never costs an image: damaged EXIF, text and profiles leave the pixels and the orientation as they are."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from datasets.images import read_image
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


@pytest.mark.parametrize("ending", SAVED)
def test_damaged_metadata_leaves_the_pixels(tmp_path, ending):
    """Bytes of EXIF, profile and text are overwritten at random: the same pixels come out."""
    exif = Image.Exif()
    exif[0x010F] = "maker" * 20
    exif.get_ifd(0x8769)[0x927C] = b"m" * 50
    rng = np.random.default_rng(0)
    profile = rng.bytes(600)
    about = {"exif": exif, "icc_profile": profile}
    if ending == "png":
        about["pnginfo"] = PngImagePlugin.PngInfo()
        about["pnginfo"].add_text("a", "b" * 500, zip=True)
        about["pnginfo"].add_itxt("c", "d" * 300)
    path = tmp_path / f"a.{ending}"
    Image.fromarray(photograph(40, 56)).save(path, **SAVED[ending], **about)
    content, expected = path.read_bytes(), read_image(path)
    metadata = [profile, b"maker" * 20, b"m" * 50, b"d" * 300, b"Exif\0\0II", b"MM\0*\0\0\0\x08"]
    spans = [(content.find(part), len(part)) for part in metadata if part in content[12:]]
    assert len(spans) >= 2
    for _ in range(150):
        damaged = bytearray(content)
        start, length = spans[rng.integers(len(spans))]
        for at in rng.integers(start, start + length, rng.integers(1, 12)):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        assert np.array_equal(read_image(path), expected)


def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000))),
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000))),
        chunk(b"tEXt", b"a\0" + bytes(20_000_000)),
        chunk(b"iTXt", b"broken"),
        b"\xff\xff\xff\xf0tEXtbroken length",
        chunk(b"zTXt", b"a\0\0b")[:-4] + b"crc?",
    ],
    ids=["text bomb", "profile bomb", "long text", "broken text", "broken length", "wrong checksum"],
)
@pytest.mark.parametrize("behind", [False, True])
def test_chunks_that_pillow_refuses(tmp_path, added, behind):
    buffer = io.BytesIO()
    Image.fromarray(photograph(20, 30)).save(buffer, "PNG")
    content = buffer.getvalue()
    at = content.index(b"IEND") - 4 if behind else 33
    (tmp_path / "a.png").write_bytes(content[:at] + added + content[at:])
    assert np.array_equal(read_image(tmp_path / "a.png"), photograph(20, 30))
