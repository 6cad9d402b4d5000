"""train_regressor: what is wrong is said before the search, and no file but a regressor's is replaced."""

import numpy as np
import pytest
from PIL import Image

from learning.regression import train
from learning.regression.model.description import RegressorDescription, read_description
from learning.regression.train import train_regressor
from networks.errors import UserError
from networks.regressor import load_regressor
from options.regressor import parse_regressor_options


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 5)).astype(np.float32)
    np.savez(tmp_path / "f.npz", names=np.array([f"{row}.png" for row in range(40)]), features=features)
    rows = [f"{row}.png,{float(value)!r},1.5" for row, value in enumerate(features[:, 0])]
    (tmp_path / "s.csv").write_text("\n".join(["image,mos,std", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(*more):
    return parse_regressor_options(
        ["--features", "f.npz", "--scores", "s.csv", "--estimator", "ridge", "--standardize", "no", "--ridge_alphas",
         "1", "--n_bootstrap", "0", "--n_splits", "2", "-j", "1", "--no_report", *more]
    )  # fmt: skip


@pytest.fixture
def no_search(monkeypatch):
    monkeypatch.setattr(train, "run_protocol", None)


@pytest.mark.usefixtures("no_search")
@pytest.mark.parametrize("ending", [".safetensors", ".json", ".held_out.csv"])
def test_a_file_beside_the_output_that_is_of_no_regressor_is_kept(folder, ending):
    """As ``--output models/quality_aware_r18.skops``: the encoder has the name of the weights."""
    (folder / f"encoder{ending}").write_text("an encoder")
    with pytest.raises(UserError, match=rf"--output encoder\.skops would replace encoder\{ending}, which is of no"):
        train_regressor(options("--output", "encoder.skops"))
    assert (folder / f"encoder{ending}").read_text() == "an encoder"


def test_a_regressor_is_replaced_by_another(folder):
    train_regressor(options("--output", "r.skops"))
    first = (folder / "r.safetensors").read_bytes()
    train_regressor(options("--output", "r.skops", "--ridge_alphas", "100"))
    assert (folder / "r.safetensors").read_bytes() != first


def test_the_sizes_of_the_photographs_are_recorded(folder):
    train_regressor(options("--output", "r.skops"))
    assert read_description(folder / "r.json").longer_sides is None, "no photograph was found"
    for row, size in enumerate([(30, 40), (50, 20), (60, 60)]):
        Image.new("RGB", size).save(folder / f"{row}.png")
    (folder / "3.png").write_text("no image")
    train_regressor(options("--output", "r.skops"))
    assert read_description(folder / "r.json").longer_sides == (40, 50, 60)


def test_what_undistorted_photographs_score_is_recorded_and_stated(folder):
    features = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)
    fitted = np.load(folder / "f.npz")
    np.savez(folder / "f.npz", names=fitted["names"], quality_aware=fitted["features"])
    np.savez(folder / "u.npz", names=np.array([f"u{row}.png" for row in range(30)]), quality_aware=features)
    train_regressor(options("--output", "r.skops", "--undistorted", "u.npz"))
    recorded = read_description(folder / "r.json").undistorted
    scores = load_regressor(folder / "r.skops", RegressorDescription).predict(features)
    assert recorded.n_images == 30
    expected = pytest.approx(np.quantile(scores, (0, 0.1, 0.5)), rel=1e-4)
    assert [recorded.lowest, recorded.tenth, recorded.half] == expected
    assert recorded.in_words() in read_description(folder / "r.json").meaning()


@pytest.mark.usefixtures("no_search")
def test_undistorted_photographs_have_like_features_and_are_not_in_the_fit(folder):
    np.savez(folder / "u.npz", names=np.array(["u.png"]), features=np.zeros((1, 4), np.float32))
    with pytest.raises(UserError, match=r"u\.npz: encoder, --pooling or --max_side is not that of f\.npz"):
        train_regressor(options("--undistorted", "u.npz"))
    stored = dict(np.load(folder / "f.npz"))
    digests = np.array([f"{row:064x}" for row in range(40)])
    for file, rows in (("f.npz", slice(None)), ("u.npz", slice(0, 1))):
        names, features = stored["names"][rows], stored["features"][rows]
        np.savez(folder / file, names=names, quality_aware=features, sha256=digests[rows])
    with pytest.raises(UserError, match=r"--undistorted u\.npz: 1 of its images are in the fit as well"):
        train_regressor(options("--undistorted", "u.npz"))


@pytest.mark.usefixtures("no_search")
def test_no_file_that_is_read_is_written(folder):
    (folder / "s.csv").rename(folder / "s.held_out.csv")
    with pytest.raises(UserError, match=r"--output s\.held_out\.csv is the file s\.held_out\.csv, which is read"):
        train_regressor(options("--scores", "s.held_out.csv", "--output", "s.skops"))


@pytest.mark.usefixtures("folder", "no_search")
def test_a_folder_of_images_that_does_not_exist_is_named_at_once():
    with pytest.raises(UserError, match="--images /nope is not a folder"):
        train_regressor(options("--images", "/nope"))


@pytest.mark.usefixtures("folder", "no_search")
def test_the_number_of_raters_is_asked_for_before_the_search(capsys):
    with pytest.raises(TypeError, match="NoneType"):
        train_regressor(options())
    assert "--n_raters gives it" in capsys.readouterr().err


@pytest.mark.usefixtures("no_search")
def test_opinions_outside_the_scale_are_refused_before_the_search(folder):
    with pytest.raises(UserError, match=r"--scale 0,5 does not hold the opinions, which go from -\d"):
        train_regressor(options("--scale", "0,5"))


def test_the_scale_and_the_opinions_are_recorded(folder, capsys):
    train_regressor(options("--scale=-4,6", "--output", "r.skops"))
    assert read_description(folder / "r.json").opinions.scale == (-4, 6)
    train_regressor(options("--lower_is_better", "--scale=-4,6", "--output", "r.skops"))
    description = read_description(folder / "r.json")
    assert description.opinions.scale == (-6, 4) and description.opinions.quantiles[0] == pytest.approx(
        description.score_range[0], rel=1e-4
    )
