"""Larger images become smaller; smaller ones stay as they are."""

import numpy as np
import pytest
from PIL import Image

from networks.images.reading import reduced
from tests.images import photograph


@pytest.mark.parametrize(
    "height, width, side, size", [(50, 100, 40, (40, 20)), (99, 3, 10, (1, 10)), (9, 9, 8, (8, 8))]
)
def test_the_longer_side_is_reduced_by_pillows_bicubic_in_one_step(height, width, side, size):
    image = photograph(height, width)
    by_pillow = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    assert np.array_equal(reduced(image, side), by_pillow)


def test_a_reduced_image_is_antialiased():
    stripes = np.repeat(np.tile(np.uint8([[0, 255]]), (400, 200))[:, :, None], 3, axis=2)
    assert np.abs(reduced(stripes, 100)[:, 2:-2].astype(int) - 128).max() <= 2, "stripes of a pixel become grey"


@pytest.mark.parametrize("side", [None, 0, 40, 41])
def test_smaller_images_stay_as_they_are(side):
    image = photograph(30, 40)
    assert reduced(image, side) is image
