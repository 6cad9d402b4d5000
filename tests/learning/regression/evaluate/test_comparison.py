"""Models are compared on the same images and splits, or refused with the first difference."""

import re
from dataclasses import replace

import numpy as np
import pytest

from learning.regression.compare import main, parse_compare_options
from learning.regression.evaluate.comparison import holm, read_tests, srcc_difference
from learning.regression.evaluate.held_out import HeldOut, held_out_file, read_held_out, write_held_out
from learning.regression.fit.search import fit
from learning.regression.model.description import Hyperparameters, Interval, RegressorDescription
from learning.regression.model.files import save_regressor
from networks.errors import UserError
from networks.opinion_mapping import IDENTITY

N = 60


@pytest.fixture
def models(tmp_path):
    """Three models, a good one and two bad ones, on the same two splits: the paths of their descriptions."""
    rng = np.random.default_rng(0)
    mos = rng.normal(size=N)
    fitted = fit(rng.normal(size=(10, 2)).astype(np.float32), rng.normal(size=10), Hyperparameters("ridge", True, 1))
    paths = []
    for name, noise in (("good", 0.2), ("bad", 2.0), ("worse", 2.0)):
        predictions = np.stack([mos + noise * rng.normal(size=N) for _ in range(2)])
        predictions[0, 40:] = predictions[1, :20] = np.nan
        path = tmp_path / f"{name}.skops"
        save_regressor(path, fitted, RegressorDescription(("quality_aware",), {}, IDENTITY, (0.0, 1.0)))
        held_out = HeldOut(mos, predictions, [f"\udcff{i},.png" for i in range(N)])
        write_held_out(held_out_file(path), held_out)
        paths.append(path.with_suffix(".json"))
    return paths


def test_held_out_predictions_come_back_as_they_were(models, tmp_path):
    held_out = read_held_out(held_out_file(models[0]))
    grouped = replace(held_out, groups=np.array([f"g{i % 7}" for i in range(N)], dtype=object))
    write_held_out(tmp_path / "h.csv", grouped)
    again = read_held_out(tmp_path / "h.csv")
    assert again.images == grouped.images and np.array_equal(again.mos, grouped.mos)
    assert np.array_equal(again.predictions, grouped.predictions, equal_nan=True)
    assert again.groups.tolist() == grouped.groups.tolist() and held_out.groups is None


def compare(monkeypatch, models):
    monkeypatch.setattr("sys.argv", ["compare", *map(str, models), "--n_bootstrap", "300"])
    main()


def test_the_better_model_wins(models, capsys, monkeypatch):
    compare(monkeypatch, models)
    printed = capsys.readouterr().out
    p_values = {}
    for pair in ("A - B", "A - C", "B - C"):
        estimate, low, _, p_values[pair] = map(float, re.findall(r"[+-]?\d\.\d+", printed.split(pair)[1])[:4])
        assert (low > 0) == (p_values[pair] < 0.05) == (estimate > 0.1) == ("A" in pair)
    compare(monkeypatch, [path.with_suffix(".skops") for path in models[:2]])
    assert float(capsys.readouterr().out.split()[-1]) < p_values["A - B"], "of three pairs, Holm's correction is larger"


def test_different_images_opinions_and_splits_are_refused(models):
    path = held_out_file(models[1])
    original = read_held_out(path)

    def refused(changed, match):
        write_held_out(path, changed)
        with pytest.raises(UserError, match=f"good.json and .*bad.json were tested differently: {match}"):
            read_tests(models)

    refused(replace(original, images=["other.png", *original.images[1:]]), ".*0,.png of opinion .*, and other.png of")
    refused(
        HeldOut(original.mos[:50], original.predictions[:, :50], original.images[:50]),
        ".*50,.png of .*, and no image;",
    )
    refused(replace(original, mos=original.mos + np.eye(N)[3]), ".*3,.png of opinion")
    refused(replace(original, predictions=original.predictions[:1]), ".*20,.png .* in splits 1, 2, and .* splits 1;")
    moved = original.predictions.copy()
    moved[1, 25] = np.nan
    refused(replace(original, predictions=moved), ".*25,.png .* in splits 1, 2, and .*25,.png .* in splits 1;")
    path.unlink()
    with pytest.raises(UserError, match=r"held-out predictions .* does not exist"):
        read_tests(models)


def test_held_out_predictions_of_another_fit_are_refused(models, monkeypatch):
    """As after a full disk: the table is new, the regressor old."""
    path = models[0].with_suffix(".skops")
    fitted = fit(np.eye(12, 2, dtype=np.float32), np.arange(12.0), Hyperparameters("ridge", True, 1))
    description = RegressorDescription(("quality_aware",), {}, IDENTITY, (0.0, 1.0))
    save_regressor(path, fitted, description, held_out_file(path))
    compare(monkeypatch, models[:2])
    held_out = read_held_out(held_out_file(path))
    write_held_out(held_out_file(path), replace(held_out, predictions=held_out.predictions + 1))
    with pytest.raises(UserError, match=r"held_out\.csv and .*json do not belong together"):
        compare(monkeypatch, models[:2])


def test_one_model_is_not_enough(capsys):
    with pytest.raises(SystemExit):
        parse_compare_options(["a.json"])
    assert "at least two" in capsys.readouterr().err


def test_equal_models_are_rarely_told_apart_and_different_ones_are():
    rng = np.random.default_rng(2)
    rejected = 0
    for seed in range(60):
        mos = rng.normal(size=80)
        first, second = (HeldOut(mos, (mos + rng.normal(size=80))[None]) for _ in range(2))
        rejected += srcc_difference(first, second, 100, seed)[1] < 0.05
    assert rejected <= 8, "60 tests at 5 %: 3 on average, more than 8 in one of 200 runs"
    mos = rng.normal(size=80)
    better, worse = (HeldOut(mos, (mos + noise * rng.normal(size=80))[None]) for noise in (0.3, 2))
    interval, p_value = srcc_difference(better, worse, 200)
    assert p_value < 0.02 and 0 < interval.low < interval.estimate < interval.high
    assert srcc_difference(better, better, 100) == (Interval(0, 0, 0), 1)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.02]) == [0.02]
