"""More than 8 bits: the same picture comes out where the scale is certain, and a sentence where it is not."""

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from datasets.images import read_image

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
        ("unit.tif", GREY.astype(np.float32) / 255),
        ("overshoot.tif", GREY.astype(np.float32) / 255 * 1.0001),
        ("float255.tif", GREY.astype(np.float32)),
        ("int255.tif", GREY.astype(np.int32)),
        ("int65535.tif", GREY.astype(np.int32) * 257),
        ("black.tif", np.zeros_like(GREY, np.uint16)),
    ],
)
def test_what_is_certain_is_scaled(tmp_path, name, values):
    image = read_image(save(tmp_path / name, values))
    expected = GREY if values.any() else np.zeros_like(GREY)
    assert (image == expected[..., None]).all()


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("12in16.tif", GREY.astype(np.uint16) * 16, "end at 4,080 of 65,535"),
        ("12in16.png", GREY.astype(np.uint16) * 16, "end at 4,080 of 65,535"),
        ("hdr.tif", GREY.astype(np.float32) / 50, "from 0 to 5.1, neither"),
        ("negative.tif", GREY.astype(np.float32) - 100, "from -100 to 155"),
        ("nan.tif", np.where(GREY == 0, np.nan, GREY).astype(np.float32), "not finite"),
        ("int32.tif", GREY.astype(np.int32) * 2**23, "neither to 255 nor to 65,535"),
        ("14bits.png", np.minimum(GREY.astype(np.uint16) * 70, 2**14 - 1), "end at 16,383, the largest of fewer than"),
        ("mask.tif", (GREY > 100).astype(np.int32), "from 0 to 1,"),
    ],
)
def test_what_is_not_certain_is_refused(tmp_path, name, values, said):
    with pytest.raises(UserError, match=rf"{name}: .*{said}.*; save it with 8 bits"):
        read_image(save(tmp_path / name, values))


def test_a_stated_largest_value_is_used(tmp_path):
    image = read_image(save(tmp_path / "a.tif", GREY.astype(np.uint16) * 16, tiffinfo={281: 4095}))
    assert (image == GREY[..., None]).all()


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
