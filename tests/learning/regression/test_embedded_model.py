"""The model that comes with the project: it scores without any option, and alike from the script and from Python."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import hubconf
from datasets.features.files import FeatureFolder
from datasets.images import read_image
from datasets.images.lists import list_images
from learning.distributed.environment import ProcessContext
from learning.extraction.compute import load_extractors
from learning.extraction.extract import extract_features
from learning.regression.model.description import RegressorDescription
from learning.regression.model.predict import ModelFiles, choose_model, predict_quality
from networks.embedded import ENCODERS, MODELS, REGRESSOR
from networks.errors import UserError
from networks.names import CHECKPOINTS
from networks.regressor import load_regressor
from options.images import ComputeOptions, parse_prediction_options
from tests.images import photograph

SCALE = 100
"""Opinions of CLIVE lie on 0 to 100."""


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Two photographs of different sizes in the current folder, which has no regressor.skops."""
    monkeypatch.chdir(tmp_path)
    for name, height, width in (("wide.png", 120, 200), ("tall.png", 150, 101)):
        Image.fromarray(photograph(height, width)).save(name)
    return tmp_path


def read_scores(path):
    lines = Path(path).read_text().splitlines()[1:]
    return {name: float(score) for name, score in (line.rsplit(",", 1) for line in lines)}


def test_a_photograph_is_scored_without_any_option(photographs, capsys):
    options = parse_prediction_options(["--input", "wide.png", "tall.png", "--output", "scores.csv", "-j", "0"])
    assert options.interval is None
    assert predict_quality(options) == 0
    scores = read_scores("scores.csv")
    assert scores.keys() == {"wide.png", "tall.png"} and all(-20 < score < 120 for score in scores.values())
    printed = capsys.readouterr().out
    assert "embedded model: a small ResNet-18" in printed and "on held-out photographs of CLIVE" in printed

    scorer = hubconf.re_iqa()
    for name, score in scores.items():
        image = torch.from_numpy(read_image(name)).permute(2, 0, 1)[None] / 255
        assert scorer(image).item() == pytest.approx(score, abs=1e-4 * SCALE)


def test_the_embedded_regressor_has_intervals(photographs, capsys):
    options = parse_prediction_options(["--input", "wide.png", "--output", "s.csv", "-j", "0", "--interval", "0.9"])
    assert predict_quality(options) == 0
    name, score, low, high = Path("s.csv").read_text().splitlines()[1].split(",")
    interval = load_regressor(REGRESSOR, RegressorDescription).description.score_interval(0.9)
    half_width, (lowest, highest) = interval.half_width, interval.scale
    assert name == "wide.png" and 20 < half_width < 40
    assert float(high) == pytest.approx(min(float(score) + half_width, highest), abs=1e-3)
    assert float(low) == pytest.approx(max(float(score) - half_width, lowest), abs=1e-3)
    assert "90 % of the opinions on similar images lie between low and high" in capsys.readouterr().out


def test_a_regressor_of_the_users_own_comes_first(photographs):
    (photographs / "regressor.skops").write_bytes(b"not a regressor")
    with pytest.raises(UserError, match=r"regressor\.skops"):
        predict_quality(parse_prediction_options(["--input", "wide.png", "-j", "0"]))


def test_features_of_another_pooling_are_refused(photographs):
    """The encoder is the same; the message names the pooling, which is the difference."""
    compute = ComputeOptions(num_workers=0)
    checkpoint = {"quality_aware": ENCODERS["quality_aware"]}
    extractors = load_extractors(checkpoint, {"quality_aware": "layer4_mean"}, compute)
    folder = FeatureFolder(photographs / "features", ["quality_aware"])
    extract_features(list_images(["wide.png"]).images, extractors, folder, ProcessContext(), compute)
    options = parse_prediction_options(["--input", "wide.png", "--features", "features", "-j", "0"])
    with pytest.raises(UserError, match="with --pooling stages_differences, and that of features is with layer4_mean"):
        predict_quality(options)


def test_the_description_holds_no_path_of_the_machine_that_made_it():
    text = REGRESSOR.with_suffix(".json").read_text()
    assert '"scores": "clive_half/mos.csv"' in text and ': "/' not in text
    assert (MODELS / "MODEL_CARD.md").is_file()
    assert ENCODERS["quality_aware"].stat().st_size < 25e6


def test_encoders_of_the_users_own_are_not_left_out_in_silence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    embedded = ModelFiles(REGRESSOR, ENCODERS)
    assert choose_model(None, CHECKPOINTS) == embedded and not capsys.readouterr().err
    assert choose_model(None, {**CHECKPOINTS, "quality_aware": tmp_path / "mine.pth"}) == embedded
    assert "--quality_ckpt and --content_ckpt are not used: the embedded model" in capsys.readouterr().err
