"""The model that comes with the project: it scores without any option, and alike from the script and from Python."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import hubconf
from datasets.features.files import FeatureFolder
from datasets.images.lists import list_images
from learning.distributed.environment import ProcessContext
from learning.extraction.compute import load_extractors
from learning.extraction.extract import extract, extract_features
from learning.regression.model.description import RegressorDescription
from learning.regression.model.predict import predict_quality
from networks import build_encoder
from networks.embedded import ENCODERS, MODEL_CARD, MODELS, embedded_regressor
from networks.errors import UserError
from networks.images.reading import read_image
from networks.names import EMBEDDED_MODELS
from networks.regressor import load_regressor
from options.images import ComputeOptions, parse_feature_options, parse_prediction_options
from tests.images import photograph

SCALE = 100
"""Opinions of CLIVE lie on 0 to 100."""


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Two photographs of different sizes in the current folder, which has no re-iqa_ckpts."""
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
    assert "embedded model clive, version 0.1.0: two small encoders" in printed and "on held-out photographs" in printed

    scorer = hubconf.re_iqa()
    for name, score in scores.items():
        image = torch.from_numpy(read_image(name)).permute(2, 0, 1)[None] / 255
        assert scorer(image).item() == pytest.approx(score, abs=1e-4 * SCALE)


def test_the_embedded_regressor_has_intervals(photographs, capsys):
    options = parse_prediction_options(["--input", "wide.png", "--output", "s.csv", "-j", "0", "--interval", "0.9"])
    assert predict_quality(options) == 0
    name, score, low, high = Path("s.csv").read_text().splitlines()[1].split(",")
    interval = load_regressor(embedded_regressor(), RegressorDescription).description.score_interval(0.9)
    half_width, (lowest, highest) = interval.half_width, interval.scale
    assert name == "wide.png" and 10 < half_width < 40
    assert float(high) == pytest.approx(min(float(score) + half_width, highest), abs=1e-3)
    assert float(low) == pytest.approx(max(float(score) - half_width, lowest), abs=1e-3)
    assert "90 % of the opinions on similar images lie between low and high" in capsys.readouterr().out


def test_a_regressor_is_used_where_it_is_named(photographs):
    """regressor.skops in the current folder, which train_regressor.py writes by default, is not taken in silence."""
    (photographs / "regressor.skops").write_bytes(b"not a regressor")
    assert predict_quality(parse_prediction_options(["--input", "wide.png", "-j", "0"])) == 0
    with pytest.raises(UserError, match=r"regressor\.skops"):
        predict_quality(parse_prediction_options(["--input", "wide.png", "-j", "0", "--regressor", "regressor.skops"]))


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


@pytest.mark.parametrize("name, table", [("clive", "clive_half/mos.csv"), ("biq2021", "biq2021_train.csv")])
def test_the_description_holds_no_path_of_the_machine_that_made_it(name, table):
    text = embedded_regressor(name).with_suffix(".json").read_text()
    assert f'"scores": "{table}"' in text and ': "/' not in text
    assert MODEL_CARD.is_file() and sum(path.stat().st_size for path in MODELS.iterdir()) < 60e6


def test_a_model_is_chosen_by_its_name(photographs, capsys):
    scores = []
    for name in EMBEDDED_MODELS:
        arguments = ["--input", "wide.png", "--model", name, "--output", f"{name}.csv", "-j", "0"]
        assert predict_quality(parse_prediction_options(arguments)) == 0
        scores.append(read_scores(f"{name}.csv")["wide.png"])
    assert scores[0] > 1 >= scores[1] - 0.2, "opinions of CLIVE go to 100, those of BIQ2021 to 1"
    with pytest.raises(SystemExit):
        parse_prediction_options(["--input", "a.png", "--model", "clive", "--regressor", "mine.skops"])
    assert "--model clive and --regressor mine.skops name two models" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_the_models_is_refused(photographs):
    torch.save(build_encoder("resnet18").state_dict(), "mine.pth")
    with pytest.raises(UserError, match=r"fitted on quality_aware features of encoder .* checkpoint mine\.pth is of"):
        predict_quality(parse_prediction_options(["--input", "wide.png", "--quality_ckpt", "mine.pth", "-j", "0"]))


def test_features_of_the_embedded_encoders_need_no_option_but_the_size(photographs, capsys):
    side = str(load_regressor(embedded_regressor(), RegressorDescription).description.max_side)
    options = ["--both", "--input", "wide.png", "--output_dir", "f", "-j", "0", "--max_side", side]
    assert extract(parse_feature_options("quality_aware", options)) == 0
    printed = capsys.readouterr().out
    assert "quality_aware encoder: the embedded one, --pooling stages_differences" in printed
    assert "content_aware encoder: the embedded one, --pooling stages_mean_std" in printed
    arguments = ["--input", "wide.png", "--features", "f", "--output", "kept.csv", "-j", "0"]
    assert predict_quality(parse_prediction_options(arguments)) == 0
    assert predict_quality(parse_prediction_options(["--input", "wide.png", "--output", "new.csv", "-j", "0"])) == 0
    assert read_scores("kept.csv") == read_scores("new.csv")


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_the_embedded_models_record_a_size(name):
    """``models/make.sh`` gives it too, so that a model that is made again has it."""
    description = load_regressor(embedded_regressor(name), RegressorDescription).description
    assert description.max_side is not None and description.longer_sides is not None
    assert (MODELS / "make.sh").read_text().count(f"--max_side {description.max_side}") == 2
