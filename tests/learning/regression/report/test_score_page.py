"""The page of scores: each image with its score and map, names as text, every file accounted for, nothing loaded."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from learning.regression.model.description import RegressorDescription, ScoreInterval
from learning.regression.model.quality_maps import map_file
from learning.regression.report.pages import THUMBNAIL_BYTES, ScoredImage, thumbnail, write_score_page
from networks.opinion_mapping import OpinionMapping
from tests.images import noise_image, photograph

DESCRIPTION = RegressorDescription(
    kinds=("quality_aware",),
    encoders={"quality_aware": "a" * 64},
    calibration=OpinionMapping("linear", (0.0, 1.0)),
    score_range=(0, 100),
    scores="mos & <scores>.csv",
)
HOSTILE = '"><script>alert(1)</script>&.png'


class Page(HTMLParser):
    """The figures of a page as (name, score, number of pictures), its tags, and its texts."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.tags, self.texts, self.sources = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.sources += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "figure":
            self.figures.append([attributes["data-name"], float(attributes["data-score"]), 0])
        if tag == "img":
            self.figures[-1][2] += 1

    def handle_data(self, text):
        self.texts.append(text.strip())


@pytest.fixture
def images(tmp_path):
    """Three rows: one with a map, one with a name like HTML, one whose file is gone."""
    for name in ("a.png", "b.png"):
        Image.fromarray(photograph(60, 80)).save(tmp_path / name)
    halves = np.concatenate([np.zeros((60, 80, 3)), np.full((60, 80, 3), 255)], axis=1).astype(np.uint8)
    Image.fromarray(halves).save(map_file(tmp_path, "a.png"))
    return [
        ScoredImage("a.png", str(tmp_path / "a.png"), 40.0, map_file(tmp_path, "a.png")),
        ScoredImage(HOSTILE, str(tmp_path / "b.png"), 60.5),
        ScoredImage("gone \udcff.png", str(tmp_path / "gone.png"), 50.25),
    ]


def test_the_page_shows_every_image_and_loads_nothing(images, tmp_path):
    texts = ("the <model>", "# card <1>", "3 images scored, 1 failed", ["image <x> cannot be read"])
    write_score_page(tmp_path / "p.html", images, DESCRIPTION, ScoreInterval(0.9, 8.5, 0.895, (0.0, 100.0)), *texts)
    page = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert page.figures == [[HOSTILE, 60.5, 1], ["gone ?.png", 50.25, 0], ["a.png", 40.0, 2]]
    assert page.tags.count("script") == 1 and all(source.startswith("data:image/webp;") for source in page.sources)
    for text in ("the <model>", "3 images scored, 1 failed", "image <x> cannot be read", "# card <1>", "no picture"):
        assert text in page.texts
    assert any("mos & <scores>.csv" in text for text in page.texts)
    assert "31.5 to 48.5" in page.texts and any("the 90 % interval held 89.5%" in text for text in page.texts)
    assert "Scores from 40 to 60.5, median 50.2; higher is better" in " ".join(page.texts)
    picture = Image.open(io.BytesIO(base64.b64decode(page.sources[-1].partition(",")[2])))
    assert picture.size == (80, 60) and np.asarray(picture).min() > 250  # the map, without the photograph


def test_the_texts_on_maps_and_problems_are_there_only_with_them(images, tmp_path):
    write_score_page(tmp_path / "p.html", images[1:2], DESCRIPTION, None, "m", "", "c")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "Quality of 1 image<" in text and not re.search(r"Point at|Files with problems|<details>", text)


def test_a_thumbnail_is_small_whatever_the_image():
    content = base64.b64decode(thumbnail(Image.fromarray(noise_image(900, 1200, 0))))
    assert len(content) <= THUMBNAIL_BYTES and Image.open(io.BytesIO(content)).size == (320, 240)


def test_an_image_that_cannot_be_read_again_is_named(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "large.png")
    images = [ScoredImage(name, str(tmp_path / name), 1.0) for name in ("large.png", "gone.png")]
    unread = write_score_page(tmp_path / "p.html", images, DESCRIPTION, None, "m", "", "c", max_pixels=599)
    assert "large.png has 30x20 pixels" in unread[0] and "gone.png does not exist" in unread[1]
    page = (tmp_path / "p.html").read_text()
    assert "large.png has 30x20 pixels" in page and "gone.png does not exist" in page
