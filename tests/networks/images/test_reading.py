"""Reading images: every mode becomes RGB uint8 in the documented way, and what is no image is named."""

import os
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from datasets.images.folders import scan_folder
from networks.errors import UserError
from networks.images import reading as images
from networks.images.reading import read_image
from tests.images import photograph


@pytest.mark.parametrize(
    "mode, color, expected",
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 77, (77, 77, 77)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("LA", (77, 0), (255, 255, 255)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 77 * 256 + 200, (77, 77, 77)),
    ],
)
def test_modes(tmp_path, mode, color, expected):
    Image.new(mode, (5, 4), color).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8
    assert (image == expected).all()


def test_cmyk_and_palette(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 255)).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").max() < 5
    Image.new("RGB", (8, 8), (200, 0, 0)).convert("P").save(tmp_path / "a.gif")
    assert read_image(tmp_path / "a.gif").shape == (8, 8, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_pixels_are_copied_in_bands(tmp_path, monkeypatch, mode):
    image = Image.fromarray(photograph(31, 20)).convert(mode)
    image.save(tmp_path / "a.png")
    monkeypatch.setattr(images, "_BAND", 7)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.array(image.convert("RGB")))


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (20, 10))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    turned = read_image(tmp_path / "a.png")
    assert turned.shape == (20, 10, 3) and turned[0, 9].min() == 255


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    for name in ("text.jpg", "missing.jpg", "."):
        with pytest.raises(UserError) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path) in str(caught.value)


def test_images_are_found_by_their_ending(tmp_path):
    for name in ("b.JPG", "a.png", "note.txt", "sub/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [os.path.relpath(path, tmp_path) for path in scan_folder(tmp_path).images] == [
        "a.png",
        "b.JPG",
        "sub/c.webp",
    ]


def test_hostile_paths_are_refused_at_once(tmp_path):
    """A pipe would be waited for for ever; a link to nowhere, a folder and a device are no images."""
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.jpg").mkdir()
    for name, said in (("fifo.jpg", "is not a file"), ("link.jpg", "does not exist"), ("folder.jpg", "is not a file")):
        with pytest.raises(UserError, match=said):
            read_image(tmp_path / name)
    with pytest.raises(UserError, match="is not a file"):
        read_image("/dev/zero")


@pytest.mark.parametrize("name", ["with space.png", "comma,.png", "new\nline.png", "ünï.png", b"latin\xe9.png"])
def test_any_name_is_read(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(os.fsdecode(path))
    assert read_image(os.fsdecode(path)).shape == (2, 3, 3)
    assert [os.fsencode(found) for found in scan_folder(tmp_path).images] == [path]


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    """A PNG of some hundred bytes that claims 60,000 x 60,000 pixels."""
    Image.new("L", (4, 4)).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(UserError, match="has 60000x60000 pixels, more than --max_pixels 250,000,000 allows"):
        read_image(tmp_path / "bomb.png")
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="30x20 pixels, more than --max_pixels 599"):
        read_image(tmp_path / "a.png", max_pixels=599)
    assert read_image(tmp_path / "a.png", max_pixels=600).shape == (20, 30, 3)


def test_a_file_cut_off_anywhere_is_refused_or_whole(tmp_path):
    for ending in ("jpg", "png", "webp", "gif", "bmp", "tiff"):
        Image.fromarray(photograph(24, 32)).save(tmp_path / f"a.{ending}")
        content, whole = (tmp_path / f"a.{ending}").read_bytes(), read_image(tmp_path / f"a.{ending}")
        for length in range(0, len(content), max(1, len(content) // 60)):
            (tmp_path / f"cut.{ending}").write_bytes(content[:length])
            try:
                image = read_image(tmp_path / f"cut.{ending}")
            except UserError as error:
                assert f"cut.{ending}" in error.sentence
            else:
                assert np.array_equal(image, whole), f"{ending} cut at {length}: what is missing was made up"


def test_extreme_shapes_broken_profiles_and_wrong_endings(tmp_path):
    Image.new("RGB", (5000, 1)).save(tmp_path / "wide.png")
    assert read_image(tmp_path / "wide.png").shape == (1, 5000, 3)
    Image.new("RGB", (4, 3)).save(tmp_path / "profile.jpg", icc_profile=b"broken")
    assert read_image(tmp_path / "profile.jpg").shape == (3, 4, 3)
    Image.new("RGB", (4, 3)).save(tmp_path / "png.png")
    (tmp_path / "png.png").rename(tmp_path / "really_png.jpg")
    assert read_image(tmp_path / "really_png.jpg").shape == (3, 4, 3)
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.save(tmp_path / "p.png", transparency=1)
    assert (read_image(tmp_path / "p.png") == 255).all(), "what is transparent lies on white"


@pytest.mark.parametrize("ending", ["bmp", "tga"])
def test_an_unused_fourth_channel_is_no_transparency(tmp_path, ending):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 4), np.uint8)
    pixels[..., 3] = 0
    path = tmp_path / f"a.{ending}"
    Image.fromarray(pixels).save(path)
    if ending == "bmp":  # Pillow writes no mask for the fourth channel: version 5 of the header has one
        content = path.read_bytes()
        masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        header = struct.pack("<I", 124) + content[18:30] + struct.pack("<I", 3) + content[34:54] + masks + bytes(68)
        path.write_bytes(b"BM" + struct.pack("<IHHI", 138 + 192, 0, 0, 138) + header + content[54:])
    assert (read_image(path) == pixels[..., :3]).all()
    pixels[0, 0, 3] = 255  # one pixel with it: the others are transparent
    if ending == "tga":
        Image.fromarray(pixels).save(path)
        assert (read_image(path)[1:] == 255).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (bytes(4096), "it is empty, or begins with zeros"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "it is a Git LFS pointer"),
        (b"\xff\x0a" + bytes(50), "it is not an image, or one of a kind that is not read; save it as PNG or JPEG"),
        (b"\xff\xd8\xff\xc0\0\x11\x0c" + bytes(50), "it is a damaged image, or one of a rare kind"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "it is a damaged image"),
        (b"hello", "it is not an image"),
    ],
)
def test_other_content_is_named(tmp_path, content, said):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=f"a.jpg cannot be read: {re.escape(said)}"):
        read_image(tmp_path / "a.jpg")
