"""The report: one file that needs no other, with whatever names and pictures there are."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from datasets.opinions.label_files import score_table
from datasets.opinions.scores import OpinionScores
from learning.regression.evaluate.bootstrap import bootstrap_intervals
from learning.regression.evaluate.comparison import srcc_difference
from learning.regression.evaluate.embedded import EmbeddedModel
from learning.regression.evaluate.protocol import run_protocol
from learning.regression.fit.search import Grid
from learning.regression.fit.splits import official_split, random_splits
from learning.regression.model.description import BootstrapIntervals, RegressorDescription
from learning.regression.model.meaning import PairOrder
from learning.regression.report.report import comparison_rows, find_pictures, write_report
from tests.images import photograph


class Checker(HTMLParser):
    """Notes what is opened and not closed, and every address."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.pictures = [], [], 0

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.pictures += tag == "img"
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.slow
@pytest.mark.parametrize("official", [False, True])
def test_a_page_with_everything_inside(tmp_path, official):
    rng = np.random.default_rng(0)
    names = [f"<b>&{i}.png" for i in range(60)]
    for name in names[:50]:
        Image.fromarray(photograph(30, 40)).save(tmp_path / name)
    (tmp_path / names[50]).write_text("no image")
    features = rng.normal(size=(60, 8)).astype(np.float32)
    mos = features[:, 0] + 0.2 * rng.normal(size=60)
    parts = np.array(["train", "train", "train", "validation", "test"] * 12, dtype=object)
    scores = OpinionScores(score_table(names, mos, split=parts), "<scores>.csv", "Inverted.")
    splits = official_split(parts) if official else random_splits(60, None, 4, (70, 10, 20), 0)
    evaluation = run_protocol(features, mos, splits, Grid(ridge_alphas=(1, 10), elasticnet_alphas=(0.1,)), 1, 2**30)
    held_out = evaluation.tests["nested"].labelled(scores)
    intervals = BootstrapIntervals(bootstrap_intervals(held_out, n_resamples=20), 20, 0)
    description = RegressorDescription(
        ("quality_aware",), {"quality_aware": None}, evaluation.calibration, (-3.0, 3.0), note="A note.",
        hyperparameters=evaluation.search.best, intervals=intervals, pair_orders=(PairOrder(0.25, 0.817, 12345),),
    )  # fmt: skip
    pictures = find_pictures(names, tmp_path, None)
    assert len(pictures) == 51
    embedded = EmbeddedModel("clive", mos + rng.normal(size=60), n_fitted=7)
    rows = comparison_rows(evaluation, description, held_out, [embedded])
    write_report(tmp_path / "r.html", scores, evaluation, held_out, description, pictures, rows)

    page = (tmp_path / "r.html").read_text()
    checker = Checker()
    checker.feed(page)
    assert not checker.open and checker.pictures > 10
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in checker.addresses)
    assert not re.search(r"https?://(?!www\.w3\.org|purl\.org|creativecommons\.org|matplotlib\.org)", page)
    assert "Which of two photographs is better?" in page
    assert "<tr><td>0.25</td><td>82 %</td><td>12,345</td></tr>" in page
    assert "&lt;b&gt;&amp;" in page and "<b>&" not in page and "A note." in page and "Inverted." in page
    difference, _ = srcc_difference(held_out, embedded.on_test_parts_of(held_out), 20, 0)
    assert "embedded model clive, fitted on 7 of these images" in page and difference.as_difference() in page
    assert f"{held_out.median('srcc'):.3f}" in page and str(evaluation.search.best) in page


def test_pictures_are_found_below_the_folder_of_images(tmp_path):
    (tmp_path / "images/1").mkdir(parents=True)
    Image.fromarray(photograph(8, 8)).save(tmp_path / "images/1/A.png")
    assert find_pictures(["a.png", "b.png"], tmp_path, tmp_path / "images") == {"a.png": tmp_path / "images/1/A.png"}
    assert find_pictures(["a.png"], tmp_path, None) == {}
