"""The page of scores: each image with its score and map, names as text, every file accounted for, nothing loaded."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from learning.regression.model.description import RegressorDescription
from learning.regression.model.meaning import Opinions, PairOrder, ScoreInterval
from learning.regression.report.pages import THUMBNAIL_BYTES, ScoredImage, thumbnail, write_score_page
from networks.opinion_mapping import OpinionMapping
from tests.images import noise_image, photograph

DESCRIPTION = RegressorDescription(
    kinds=("quality_aware",),
    encoders={"quality_aware": "a" * 64},
    calibration=OpinionMapping("linear", (0.0, 1.0)),
    score_range=(0, 100),
    scores="mos & <scores>.csv",
    opinions=Opinions((0.0, 100.0), (10.0, 50.0, 90.0)),
    pair_orders=(PairOrder(5.0, 0.614, 200), PairOrder(10.0, 0.72, 100)),
)
HOSTILE = '"><script>alert(1)</script>&.png'


class Page(HTMLParser):
    """The figures of a page as (name, score, number of pictures), its tags, and its texts."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.tags, self.texts, self.sources, self.links = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.sources += [attributes["src"]] if "src" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        assert not any(name.startswith("on") for name in attributes)
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
    Image.fromarray(halves).save(tmp_path / "a.png.png")
    return [
        ScoredImage("a.png", str(tmp_path / "a.png"), 40.0, tmp_path / "a.png.png"),
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
    text = " ".join(page.texts)
    assert "score +- 8.5, cut at 0 and 100 (split conformal; on held-out images the 90 % interval held 89.5%)." in text
    assert "31.5" not in text, "the same interval is not repeated for each image"
    assert "60.5 Good percentile 63" in text and "40.0 Fair percentile 38" in text
    assert "Of two photographs whose scores differ by 5, 10, the one with the higher score has the higher" in text
    assert "opinion in 61, 72 % of the held-out pairs." in text
    assert "Scores from 40 to 60.5, median 50.2. The model was fitted to opinions from 0 to 100; higher" in text
    picture = Image.open(io.BytesIO(base64.b64decode(page.sources[-1].partition(",")[2])))
    assert picture.size == (80, 60) and np.asarray(picture).min() > 250  # the map, without the photograph


def test_pictures_and_names_link_to_the_files(images, tmp_path):
    """Whatever a file is called: as a path from the page, never as an address of its own."""
    images.append(ScoredImage("x", str(tmp_path / "javascript:alert(1)"), 1.0))
    images.append(ScoredImage("y", "//host#?.png", 2.0))
    images.append(ScoredImage("z", str(tmp_path / "\udcff .png"), 3.0))
    (tmp_path / "pages").mkdir()
    write_score_page(tmp_path / "pages/p.html", images, DESCRIPTION, None, "m", "", "c")
    page = Page((tmp_path / "pages/p.html").read_text(encoding="utf-8"))
    assert page.links[:2] == ["../b.png"] * 2 and page.links[2:4] == ["../gone.png"] * 2
    assert page.links[4:7] == ["../a.png", "../%FF%20.png", "../%FF%20.png"]
    assert page.links[-1] == "../javascript%3Aalert%281%29"
    assert page.links[7].endswith("/host%23%3F.png") and all(link.startswith("../") for link in page.links)
    assert len(page.links) == 2 * 6 - 1, "pointing at the picture with a map shows the map"


def test_a_regressor_without_opinions_and_a_page_without_images(images, tmp_path):
    older = replace(DESCRIPTION, opinions=None, pair_orders=())
    write_score_page(tmp_path / "p.html", images[1:2], older, None, "m", "", "c")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "Grade and percentile are left out: an older train_regressor.py" in text and "percentile 6" not in text
    assert 'style="width: 60.5%"' in text
    write_score_page(tmp_path / "p.html", [], DESCRIPTION, None, "m", "", "0 of 3 images score below 5")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "Quality of 0 images" in text and "0 of 3 images score below 5" in text


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
