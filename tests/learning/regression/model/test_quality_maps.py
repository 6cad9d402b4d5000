"""Maps of local quality: places of a photograph that lower or raise its score, drawn beside it."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image

import hubconf
from datasets.images.lists import ListedImage
from learning.regression.model import quality_maps
from learning.regression.model.predict import predict_quality
from learning.regression.model.quality_maps import draw_map, local_deviations, smooth, write_maps
from networks.errors import UserError
from options.images import parse_prediction_options
from tests.images import photograph


@pytest.fixture(scope="module")
def scorer():
    return hubconf.re_iqa()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_blurred_half_of_a_sharp_photograph_is_the_lower_one(scorer, name, side):
    image = Image.fromarray(load_sample_image(name))
    pixels, blurred = np.array(image), np.array(image.filter(ImageFilter.GaussianBlur(4)))
    middle = image.width // 2
    half = slice(0, middle) if side == "left" else slice(middle, None)
    pixels[:, half] = blurred[:, half]
    halves = dict(zip(("left", "right"), np.array_split(local_deviations(pixels, scorer), 2, axis=1), strict=True))
    other = {"left": "right", "right": "left"}[side]
    assert halves[side].mean() < halves[other].mean() - 10


def test_smoothing_keeps_a_constant_up_to_the_border():
    np.testing.assert_allclose(smooth(np.full((9, 31), 3.5, np.float32)), 3.5, rtol=1e-6)


def test_places_that_lower_the_score_are_red_and_those_that_raise_it_blue():
    pixels = np.full((40, 60, 3), 128, np.uint8)
    deviations = np.concatenate([np.full((5, 5), -2.0), np.full((5, 5), 2.0)], axis=1)
    picture = draw_map(pixels, deviations)
    assert picture.shape == (40, 120, 3) and (picture[:, :60] == pixels).all()
    low, high = picture[20, 65].astype(int), picture[20, 115].astype(int)
    assert low[0] > low[2] + 50 and high[2] > high[0] + 50
    assert (draw_map(pixels, np.zeros((5, 10)))[:, 60:] == 128).all()


def test_an_image_of_too_many_pixels_has_no_map_and_the_next_one_has(scorer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality_maps, "MOST_PIXELS", 120 * 130)
    for name, width in (("large.png", 140), ("small.png", 110)):
        Image.fromarray(photograph(120, width)).save(tmp_path / name)
    images = [ListedImage(str(tmp_path / name), name) for name in ("large.png", "small.png")]
    maps, (sentence,) = write_maps(images, scorer, tmp_path / "maps")
    assert list(maps) == ["small.png"] and "large.png: no map: 16,800 pixels" in sentence
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["small.png.png"]
    with pytest.raises(UserError, match="maps are drawn for up to"):
        local_deviations(photograph(120, 140), scorer)


def test_predict_writes_a_map_beside_each_photograph(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        Image.fromarray(photograph(120, 150)).save(tmp_path / "in" / folder / "same.png")
    options = parse_prediction_options(["--input", "in", "--map", "maps", "-j", "0"])
    assert predict_quality(options) == 0
    assert "2 maps written, 0 failed: maps" in capsys.readouterr().out
    for folder in ("a", "b"):
        with Image.open(tmp_path / "maps" / folder / "same.png.png") as picture:
            assert picture.size == (300, 120)
