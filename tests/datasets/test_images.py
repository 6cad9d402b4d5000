"""Reading images: every mode becomes RGB uint8 in the documented way, and what is no image is named."""

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from datasets.images import find_images, read_image


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
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == ["a.png", "b.JPG", "sub/c.webp"]
