"""train_regressor: what is wrong is said before the search, and no file but a regressor's is replaced."""

import numpy as np
import pytest

from learning.regression import train
from learning.regression.train import train_regressor
from networks import embedded
from networks.errors import UserError
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


@pytest.mark.usefixtures("no_search")
def test_no_file_that_is_read_is_written(folder):
    (folder / "s.csv").rename(folder / "s.held_out.csv")
    with pytest.raises(UserError, match=r"--output s\.held_out\.csv is the file s\.held_out\.csv, which is read"):
        train_regressor(options("--scores", "s.held_out.csv", "--output", "s.skops"))


@pytest.mark.usefixtures("no_search")
def test_the_default_output_does_not_replace_the_embedded_model(monkeypatch):
    monkeypatch.chdir(embedded.MODELS)
    before = embedded.embedded_regressor().stat().st_mtime_ns
    with pytest.raises(UserError, match="the embedded model is in this folder"):
        train_regressor(options())
    assert embedded.embedded_regressor().stat().st_mtime_ns == before


@pytest.mark.usefixtures("folder", "no_search")
def test_a_folder_of_images_that_does_not_exist_is_named_at_once():
    with pytest.raises(UserError, match="--images /nope is not a folder"):
        train_regressor(options("--images", "/nope"))


@pytest.mark.usefixtures("folder", "no_search")
def test_the_number_of_raters_is_asked_for_before_the_search(capsys):
    with pytest.raises(TypeError, match="NoneType"):
        train_regressor(options())
    assert "--n_raters gives it" in capsys.readouterr().err
