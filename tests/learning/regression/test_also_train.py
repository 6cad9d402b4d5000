"""``--also_train``: its images train in every split and are never tested on."""

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from learning.regression.evaluate.held_out import read_held_out
from learning.regression.fit.labelled_features import read_data
from learning.regression.train import train_regressor
from networks.errors import UserError
from networks.regressor import ScoringDescription, load_regressor
from options.regressor import parse_regressor_options

N, M, P = 40, 25, 6
ALPHA = 3.0


@pytest.fixture
def folder(tmp_path):
    """40 scored images and 25 others, whose scores follow the features differently."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N + M, P)).astype(np.float32)
    mos = features[:, 0] + 0.3 * rng.normal(size=N + M)
    mos[N:] += features[N:, 1]
    names = [f"{'scored' if row < N else 'other'}/{row}.png" for row in range(N + M)]
    np.savez(tmp_path / "f.npz", names=np.array(names), quality_aware=features)
    for table, rows in (("s.csv", range(N)), ("o.csv", range(N, N + M))):
        lines = [f"{names[row]},{float(mos[row])!r},{row // 2 if row < N else f'other {row}'}" for row in rows]
        (tmp_path / table).write_text("\n".join(["image,mos,group", *lines]) + "\n")
    return tmp_path, features, mos


def options(folder, *more):
    return parse_regressor_options(
        ["--features", str(folder / "f.npz"), "--scores", str(folder / "s.csv"), "--output", str(folder / "r.skops"),
         "--also_train", str(folder / "o.csv"), "--estimator", "ridge", "--standardize", "no", "--ridge_alphas",
         str(ALPHA), "--n_bootstrap", "20", "--n_splits", "4", "-j", "1", *more]
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_every_split_and_the_regressor_learn_from_both_tables(folder, capsys):
    """Against scikit-learn's Ridge on the rows of each split and on all rows."""
    folder, features, mos = folder
    train_regressor(options(folder))
    printed = capsys.readouterr().out
    assert f"{N} images" in printed and f"{M} images of {folder / 'o.csv'} train in every split" in printed
    held_out = read_held_out(folder / "r.held_out.csv")
    assert len(held_out.images) == N, "only images with opinions are listed"
    others = np.arange(N, N + M)
    for predictions in held_out.predictions:
        tested = np.flatnonzero(~np.isnan(predictions))
        rows = np.concatenate([np.setdiff1d(np.arange(N), tested), others])
        expected = Ridge(alpha=ALPHA).fit(features[rows].astype(float), mos[rows]).predict(features[tested])
        assert 4 <= len(tested) < N / 2 and predictions[tested] == pytest.approx(expected, abs=1e-5)
    assert json.loads((folder / "r.json").read_text())["n_images"] == N
    fitted = load_regressor(folder / "r.skops", ScoringDescription).model.predict(features[:5])
    assert fitted == pytest.approx(Ridge(alpha=ALPHA).fit(features.astype(float), mos).predict(features[:5]), abs=1e-5)


@pytest.mark.parametrize(
    "line, said",
    [
        ("scored/3.png,1,own", "image scored/3.png is in"),
        ("other/50.png,1,7", "group 7 is in"),
        ("other/50.png,1,scored/3.png", "image scored/3.png is in"),
    ],
)
def test_what_is_tested_on_must_not_train(folder, line, said):
    folder, _, _ = folder
    (folder / "o.csv").write_text(f"image,mos,group\n{line}\n")
    with pytest.raises(UserError, match=said):
        read_data(options(folder))


def test_scores_on_another_scale_are_refused(folder):
    folder, _, _ = folder
    (folder / "o.csv").write_text("image,mos\nother/50.png,55\nother/51.png,85\n")
    with pytest.raises(UserError, match=r"from 55 to 85, those of .* both must be on the same scale"):
        read_data(options(folder))


def test_images_without_features_are_named(folder):
    folder, _, _ = folder
    (folder / "o.csv").write_text("image,mos\nother/50.png,1\nother/none.png,2\n")
    with pytest.raises(UserError, match=r"1 of 2 images of .*o\.csv have no features"):
        read_data(options(folder))
    assert len(read_data(options(folder, "--skip_missing")).only_train) == 1


def test_identical_images_under_two_names_are_refused(folder):
    folder, features, _ = folder
    wide = np.repeat(features, 3, axis=1)  # with few features, equal ones do not prove equal images
    wide[N + 2] = wide[5]
    np.savez(folder / "f.npz", names=np.load(folder / "f.npz")["names"], quality_aware=wide)
    with pytest.raises(UserError, match=r"image other/42\.png is identical to scored/5\.png of .*s\.csv"):
        read_data(options(folder))


def test_a_column_that_is_not_used_is_named(folder, capsys):
    folder, _, _ = folder
    (folder / "o.csv").write_text("image,mos,split\nother/50.png,1,test\nother/51.png,0,train\n")
    assert len(read_data(options(folder)).only_train) == 2
    assert "the column split of" in capsys.readouterr().err
