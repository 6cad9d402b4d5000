"""Trained on one database, tested on another."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from common.errors import UserError
from learning.regression.across import ScoredSet, matrix_across, write_matrix, write_page
from learning.regression.evaluate.metrics import srcc
from learning.regression.fit.search import fit
from learning.regression.fit.settings import Hyperparameters
from options.across import parse_across_options
from tests.runs import ROOT


def sets_of(names):
    """Arguments that name a set by each letter; the tests make the sets themselves."""
    return [argument for name in names for argument in ("--set", name, "f.npz", "s.csv")]


def make_set(name, weights, seed):
    features = np.random.default_rng(seed).normal(size=(60, len(weights))).astype(np.float32)
    return ScoredSet(name, features, features @ weights, None)


def test_sets_that_agree_and_one_that_disagrees(tmp_path):
    """b follows the same rule as a, c the opposite one."""
    weights = np.array([1.0, 0.5, 0, 0])
    sets = [make_set("a", weights, 0), make_set("b", weights, 1), make_set("c", -weights, 2)]
    options = parse_across_options([*sets_of("abc"), "--estimator", "ridge", "--n_splits", "2", "-j", "1"])
    matrix = matrix_across(sets, options)
    assert (np.sign(matrix.srcc) == [[1, 1, -1], [1, 1, -1], [-1, -1, 1]]).all()
    assert (np.abs(matrix.srcc) > 0.95).all()
    by_hand = fit(sets[0].features, sets[0].mos, Hyperparameters("ridge", True, 1e-3)).predict(sets[1].features)
    assert matrix.srcc[0, 1] == pytest.approx(float(srcc(by_hand, sets[1].mos)), abs=0.02)
    write_matrix(tmp_path / "m.csv", matrix)
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 10
    write_page(tmp_path / "m.html", matrix, sets, 2)
    page = (tmp_path / "m.html").read_text()
    assert page.count("<td style=") == 18 and page.count('class="own"') == 6
    assert f">{matrix.srcc[0, 1]:.3f}</td>" in page and "rgb(255, 255, 255)" in page, "white where it is negative"
    with pytest.raises(UserError, match="a has 4 features and d 2"):
        matrix_across([sets[0], make_set("d", weights[:2], 3)], options)


def test_images_of_two_sets_are_named(capsys):
    options = parse_across_options([*sets_of("ab"), "--estimator", "ridge", "--n_splits", "2", "-j", "1"])
    a, b = (make_set(name, np.ones(20), seed) for seed, name in enumerate("ab"))
    matrix_across([a, b], options)
    assert "trained and tested" not in capsys.readouterr().err
    features = np.concatenate([b.features[:50], a.features[:10]])
    matrix_across([a, replace(b, features=features)], options)
    assert "10 images of a are in b too" in capsys.readouterr().err


def test_features_of_different_encoders_are_refused():
    options = parse_across_options(sets_of("ab"))
    a = replace(make_set("a", np.ones(4), 0), encoders={"quality_aware": "1" * 64})
    for encoders, sentence in (
        ({"content_aware": "1" * 64}, "a has quality_aware features and b content_aware"),
        ({"quality_aware": "2" * 64}, "the quality_aware features of a are of encoder 1+, and those of b of 2+;"),
    ):
        with pytest.raises(UserError, match=sentence):
            matrix_across([a, replace(a, name="b", encoders=encoders)], options)


def test_the_diagonal_follows_an_official_split():
    """The test part follows the opposite rule, which only this split shows."""
    one = make_set("a", np.array([1.0, 0.5, 0, 0]), 0)
    parts = np.repeat(["train", "validation", "test"], (40, 10, 10)).astype(object)
    mos = np.where(parts == "test", -one.mos, one.mos)
    options = parse_across_options([*sets_of("ab"), "--estimator", "ridge", "-j", "1"])
    matrix = matrix_across([replace(one, mos=mos, official=parts), make_set("b", np.ones(4), 1)], options)
    assert matrix.srcc[0, 0] < -0.95


def test_two_sets_need_two_names(capsys):
    with pytest.raises(SystemExit):
        parse_across_options(sets_of("aa"))
    assert "a name of its own" in capsys.readouterr().err


def test_a_page_cannot_replace_the_matrix(capsys):
    with pytest.raises(SystemExit):
        parse_across_options([*sets_of("ab"), "--output", "m.html"])
    assert "the name must end in .csv" in capsys.readouterr().err


@pytest.mark.processes
def test_a_table_that_is_read_is_not_overwritten(tmp_path):
    (tmp_path / "a.csv").write_text("image,mos\nx,1\n")
    sets = ["--set", "a", "f.npz", "a.csv", "--set", "b", "f.npz", "b.csv"]
    command = [sys.executable, "-m", "learning.regression.across", *sets, "--output", "a.csv"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "--output a.csv is the file a.csv, which is read" in done.stderr
