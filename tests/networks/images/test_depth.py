"""More than 8 bits: 16 bits give the same picture, and anything whose scale is not certain a sentence."""

import numpy as np
import pytest
from PIL import Image

from networks.errors import UserError
from networks.images.reading import read_image

GREY = ((np.arange(48)[:, None] + np.arange(64)) * 255 // 110).astype(np.uint8)


def save(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("16.png", GREY.astype(np.uint16) * 257),
        ("16.tif", GREY.astype(np.uint16) * 257),
        ("16.pgm", GREY.astype(np.uint16) * 257),
        ("black.tif", np.zeros_like(GREY, np.uint16)),
    ],
)
def test_16_bits_are_divided_by_256(tmp_path, name, values):
    image = read_image(save(tmp_path / name, values))
    expected = GREY if values.any() else np.zeros_like(GREY)
    assert (image == expected[..., None]).all()


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("12in16.tif", GREY.astype(np.uint16) * 16, "end at 4,080 of 65,535"),
        ("12in16.png", GREY.astype(np.uint16) * 16, "end at 4,080 of 65,535"),
        ("unit.tif", GREY.astype(np.float32) / 255, "floating-point values, whose black and white are not certain"),
        ("float255.tif", GREY.astype(np.float32), "floating-point values"),
        ("a.pfm", GREY.astype(np.float32) / 255, "floating-point values"),
        ("int255.tif", GREY.astype(np.int32), "32-bit values"),
        ("int65535.tif", GREY.astype(np.int32) * 257, "32-bit values"),
        ("14bits.png", np.minimum(GREY.astype(np.uint16) * 70, 2**14 - 1), "end at 16,383, the largest of fewer than"),
    ],
)
def test_anything_else_is_refused(tmp_path, name, values, said):
    with pytest.raises(UserError, match=rf"{name}.*{said}.*; save it .*with 8 bits"):
        read_image(save(tmp_path / name, values))


def test_white_is_zero_in_16_bits(tmp_path):
    inverted = read_image(save(tmp_path / "a.tif", GREY.astype(np.uint16) * 257, tiffinfo={262: 0}))
    assert (inverted == 255 - GREY[..., None]).all()


@pytest.mark.parametrize("name", ["photo.dng", "photo.tif"])
def test_a_preview_is_not_taken_for_the_photograph(tmp_path, name):
    """Raw files of most makers are TIFF files whose first page is a small preview, whatever they are named."""
    preview = {254: 1, 50706: bytes([1, 4, 0, 0])} if name.endswith(".dng") else {254: 1, 330: 8}
    Image.fromarray(GREY).save(tmp_path / name, "TIFF", tiffinfo=preview)
    with pytest.raises(UserError, match=r"is a camera's raw file.*develop it"):
        read_image(tmp_path / name)


def test_one_transparent_value_of_16_bits_lies_on_white(tmp_path):
    values = GREY.astype(np.uint16) * 256
    image = read_image(save(tmp_path / "a.png", values, transparency=53 * 256))
    expected = np.where(GREY == 53, 255, GREY)
    assert (GREY == 53).any()
    assert (image == expected[..., None]).all()
