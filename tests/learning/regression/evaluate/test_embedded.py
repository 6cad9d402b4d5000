"""The embedded models beside a regressor: on the same test parts, and it is said where they have seen the images."""

import re

import numpy as np
import pytest
from PIL import Image

from learning.regression.compare import parse_compare_options
from learning.regression.evaluate.comparison import compare_regressors
from learning.regression.evaluate.embedded import embedded_models
from learning.regression.evaluate.held_out import held_out_file, read_held_out
from learning.regression.fit.labelled_features import read_data
from learning.regression.model.description import RegressorDescription
from learning.regression.model.predict import predict_quality
from learning.regression.train import train_regressor
from networks.embedded import embedded_regressor
from networks.errors import UserError
from networks.names import EMBEDDED_MODELS, KINDS
from networks.regressor import load_regressor
from options.images import parse_prediction_options
from options.regressor import parse_regressor_options
from tests.images import photograph

CLIVE = held_out_file(embedded_regressor("clive"))


def write_features(path, names, n_features=None, **more):
    """Random features of the embedded encoders, or ``n_features`` of another program."""
    rng = np.random.default_rng(0)
    if n_features:
        np.savez(path, names=np.array(names), features=rng.normal(size=(len(names), n_features)), **more)
        return
    regressor = load_regressor(embedded_regressor(), RegressorDescription)
    features = regressor.model.mean + regressor.model.scale * rng.normal(size=(len(names), len(regressor.model.mean)))
    arrays = dict(zip(KINDS, np.split(features.astype(np.float32), [3840], axis=1), strict=True))
    encoders = {f"{kind}_encoder": np.array(one) for kind, one in regressor.description.encoders.items()}
    np.savez(path, **({"names": np.array(names)} | arrays | encoders | more))


def write_scores(path, names, mos):
    path.write_text("\n".join(["image,mos", *(f"{name},{value!r}" for name, value in zip(names, mos, strict=True))]))


def options(folder, *more):
    return parse_regressor_options(
        ["--features", str(folder / "f.npz"), "--scores", str(folder / "s.csv"), "--no_report", "--output",
         str(folder / "r.skops"), "--estimator", "ridge", "--standardize", "yes", "--ridge_alphas", "1e5", "--n_splits",
         "2", "-j", "1", "--n_bootstrap", "20", *more]
    )  # fmt: skip


def test_a_regressor_on_features_of_the_embedded_encoders_is_compared_without_being_asked(tmp_path, capsys):
    names = [f"{row}.png" for row in range(30)]
    write_features(tmp_path / "f.npz", names)
    write_scores(tmp_path / "s.csv", names, range(30))
    data = read_data(options(tmp_path))
    models = embedded_models(data, None)
    assert [model.name for model in models] == list(EMBEDDED_MODELS)
    for model in models:
        assert model.scores.shape == (30,) and model.n_fitted == 0, "the names are CLIVE's, the opinions are not"
    regressor = load_regressor(embedded_regressor("biq2021"), RegressorDescription)
    assert np.array_equal(models[1].scores, regressor.predict(data.features))
    train_regressor(options(tmp_path, "--table", "markdown"))
    printed = capsys.readouterr()
    assert "| embedded model clive | " in printed.out and "| embedded model biq2021 | " in printed.out
    verdicts = re.findall(r"this regressor minus it \[95 % interval\]: (better|worse|no sig.*nce) \|", printed.out)
    assert len(verdicts) == 2 and "favours" not in printed.err


@pytest.mark.parametrize("scale", [1, 0.05])
def test_photographs_of_the_fit_are_told_by_name_and_opinion(tmp_path, capsys, scale):
    """Bitmaps of CLIVE have another content than the JPEG files of the fit, and other endings."""
    fit = read_held_out(CLIVE)
    names = [f"Images/{image.split('/')[-1].split('.')[0]}.bmp" for image in fit.images[:40]]
    write_features(tmp_path / "f.npz", names)
    write_scores(tmp_path / "s.csv", names, (scale * fit.mos[:40]).tolist())
    models = embedded_models(read_data(options(tmp_path)), None)
    assert [model.n_fitted for model in models] == [40, 0]
    assert "clive was fitted on 40 of these 40 images, so the comparison favours it" in capsys.readouterr().err


def test_photographs_of_the_fit_are_told_by_their_content(tmp_path):
    known = load_regressor(embedded_regressor(), RegressorDescription).description.fit_images.split()
    names = [f"mine_{row}.png" for row in range(30)]
    digests = np.array([*(one + "0" * 48 for one in known[:3]), *[64 * "f"] * 27])
    write_features(tmp_path / "f.npz", names, sha256=digests)
    write_scores(tmp_path / "s.csv", names, range(30))
    assert embedded_models(read_data(options(tmp_path)), None)[0].n_fitted == 3


def test_photographs_are_scored_on_request(tmp_path):
    names = [f"{row}.png" for row in range(3)]
    for row, name in enumerate(names):
        Image.fromarray(photograph(60 + row, 80)).save(tmp_path / name)
    write_features(tmp_path / "f.npz", names, 20)
    write_scores(tmp_path / "s.csv", names, range(3))
    data = read_data(options(tmp_path))
    assert embedded_models(data, None) == []
    pictures = {name: tmp_path / name for name in names}
    (model,) = embedded_models(data, pictures)
    arguments = ["--input", *map(str, pictures.values()), "--output", str(tmp_path / "o.csv"), "-j", "0"]
    assert predict_quality(parse_prediction_options(arguments)) == 0
    by_script = [float(line.rsplit(",", 1)[1]) for line in (tmp_path / "o.csv").read_text().splitlines()[1:]]
    assert model.name == "clive" and model.scores == pytest.approx(by_script, abs=1e-3)


def test_a_photograph_that_is_not_there_is_named_before_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr("learning.regression.train.run_protocol", None)
    names = [f"{row}.png" for row in range(30)]
    write_features(tmp_path / "f.npz", names, 20)
    write_scores(tmp_path / "s.csv", names, range(30))
    with pytest.raises(UserError, match=r"--compare_embedded: 30 image files were not found, 0\.png among them; name"):
        train_regressor(options(tmp_path, "--compare_embedded"))


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_the_held_out_predictions_of_an_embedded_model_are_kept_for_compare(name, capsys):
    """Its file of predictions is a table of scores, too, so another regressor can be tested on the same splits."""
    path = embedded_regressor(name)
    compare_regressors(parse_compare_options([str(path), str(path), "--n_bootstrap", "100", "--table", "latex"]))
    printed = capsys.readouterr().out
    assert "A - B & +0.0000 [+0.0000, +0.0000] & 1.0000" in printed and printed.count(r"\begin{tabular}") == 2
    description = load_regressor(path, RegressorDescription).description
    assert len(read_held_out(held_out_file(path)).images) == description.n_images
