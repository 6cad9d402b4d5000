"""Trained on one database, tested on another."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.opinions.label_files import score_table
from datasets.opinions.scores import OpinionScores
from learning.regression.across import parse_across_options
from learning.regression.evaluate.cross_database import (
    ScoredSet,
    matrix_across,
    read_opinions,
    train_and_test_across,
)
from learning.regression.evaluate.metrics import srcc
from learning.regression.fit.search import fit
from learning.regression.model.description import Hyperparameters
from networks.errors import UserError
from tests.runs import ROOT


def sets_of(names):
    """Arguments that name a set by each letter; the tests make the sets themselves."""
    return [argument for name in names for argument in ("--set", name, "f.npz", "s.csv")]


def scores_of(mos, parts=None):
    return OpinionScores(score_table([f"{row}.png" for row in range(len(mos))], mos, split=parts), "s.csv")


def make_set(name, weights, seed):
    features = np.random.default_rng(seed).normal(size=(60, len(weights))).astype(np.float32)
    return ScoredSet(name, scores_of(features @ weights), features)


def test_sets_that_agree_and_one_that_disagrees():
    """b follows the same rule as a, c the opposite one."""
    weights = np.array([1.0, 0.5, 0, 0])
    sets = [make_set("a", weights, 0), make_set("b", weights, 1), make_set("c", -weights, 2)]
    options = parse_across_options([*sets_of("abc"), "--estimator", "ridge", "--n_splits", "2", "-j", "1"])
    srcc_matrix, plcc_matrix = matrix_across(sets, options)
    assert (np.sign(srcc_matrix) == [[1, 1, -1], [1, 1, -1], [-1, -1, 1]]).all()
    assert (np.abs(srcc_matrix) > 0.95).all()
    by_hand = fit(sets[0].features, sets[0].scores.mos, Hyperparameters("ridge", True, 1e-3)).predict(sets[1].features)
    assert srcc_matrix[0, 1] == pytest.approx(float(srcc(by_hand, sets[1].scores.mos)), abs=0.02)
    assert plcc_matrix[0, 2] > 0.95, "the logistic turns the order round"
    with pytest.raises(UserError, match=r"a has 4 features .*, and d 2 features"):
        matrix_across([sets[0], make_set("d", weights[:2], 3)], options)


def test_the_matrix_is_printed_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        one, images = make_set(name, np.array([1.0, 0.5, 0, 0]), seed), [f"{i}.png" for i in range(60)]
        np.savez(f"{name}.npz", names=np.array(images), quality_aware=one.features)
        rows = [f"{image},{mos!r}" for image, mos in zip(images, one.scores.mos.tolist(), strict=True)]
        Path(f"{name}.csv").write_text("\n".join(["image,mos", *rows]) + "\n")
    sets = [argument for name in "ab" for argument in ("--set", name, f"{name}.npz", f"{name}.csv")]
    arguments = [*sets, "--estimator", "ridge", "--n_splits", "2", "-j", "1", "--output", "m.csv"]
    train_and_test_across(parse_across_options(arguments))
    printed = capsys.readouterr().out
    with open("m.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["train"], row["test"]) for row in rows] == [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]
    for row in rows:
        assert f"{float(row['srcc']):.4f}" in printed and f"{float(row['plcc']):.4f}" in printed
    assert printed.index("SRCC, row: trained on") < printed.index("PLCC fit, row") < printed.index("written    m.csv")
    Path("b.csv").write_text("image,mos\nnone.png,1\n")
    with pytest.raises(UserError, match=r"no image of b\.csv has features in b\.npz; the table lists none\.png"):
        train_and_test_across(parse_across_options(arguments))


def test_scores_are_a_table_or_those_of_a_reader(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("kadid").mkdir()
    Path("kadid/dmos.csv").write_text("dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.496\n")
    Path("t.csv").write_text("image,mos\na.png,1\n")
    assert read_opinions("kadid:kadid").groups.tolist() == ["I01.png"]
    assert read_opinions("t.csv").images == ["a.png"]
    with pytest.raises(UserError, match="scores c:kadid does not exist"):
        read_opinions("c:kadid")
    with pytest.raises(UserError, match="--root nowhere is not a folder; unpack KADID-10k there"):
        read_opinions("kadid:nowhere")


def test_features_of_different_encoders_are_refused():
    options = parse_across_options(sets_of("ab"))
    a = replace(make_set("a", np.ones(4), 0), encoders={"quality_aware": "1" * 64})
    for kind, digit in (("content_aware", "1"), ("quality_aware", "2")):
        sentence = rf"a has 4 features \(quality_aware by encoder 1+\), and b 4 features \({kind} by encoder {digit}+\)"
        with pytest.raises(UserError, match=sentence):
            matrix_across([a, replace(a, name="b", encoders={kind: digit * 64})], options)


def test_the_diagonal_follows_an_official_split():
    """The test part follows the opposite rule, which only this split shows."""
    one = make_set("a", np.array([1.0, 0.5, 0, 0]), 0)
    parts = np.repeat(["train", "validation", "test"], (40, 10, 10)).astype(object)
    scores = scores_of(np.where(parts == "test", -1, 1) * one.scores.mos, parts)
    options = parse_across_options([*sets_of("ab"), "--estimator", "ridge", "-j", "1"])
    matrix = matrix_across([replace(one, scores=scores), make_set("b", np.ones(4), 1)], options)
    assert matrix[0, 0, 0] < -0.95


def test_two_sets_need_two_names(capsys):
    with pytest.raises(SystemExit):
        parse_across_options(sets_of("aa"))
    assert "a name of its own" in capsys.readouterr().err


def test_the_matrix_is_a_csv(capsys):
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


def test_a_set_that_cannot_be_split_is_refused_before_the_first_search(monkeypatch):
    monkeypatch.setattr("learning.regression.evaluate.cross_database.run_protocol", None)
    a = make_set("a", np.array([1.0, 0.5]), 0)
    small = ScoredSet("small", scores_of(np.arange(3.0)), a.features[:3])
    with pytest.raises(UserError, match="small: 3 images are too few to be split"):
        matrix_across([a, small], parse_across_options([*sets_of("ab"), "-j", "1"]))
