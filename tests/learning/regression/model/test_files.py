"""A regressor on disk comes back as it was, or is refused: nothing in it is executed, nothing is guessed."""

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import safetensors.numpy
import skops.io

from learning.regression.fit.search import fit
from learning.regression.model.description import (
    BootstrapIntervals,
    Hyperparameters,
    Interval,
    Metrics,
    ObserverSpread,
    PredictionIntervals,
    RegressorDescription,
    Results,
    read_description,
)
from learning.regression.model.files import save_regressor
from learning.regression.model.meaning import Opinions, PairOrder
from networks import regressor
from networks.errors import UserError
from networks.opinion_mapping import OpinionMapping
from networks.regressor import FORMER_FORMAT, ScoringDescription

DESCRIPTION = RegressorDescription(
    kinds=("quality_aware",),
    encoders={"quality_aware": "a" * 64},
    calibration=OpinionMapping("linear", (1.0, 2.0)),
    score_range=(1.0, 5.0),
)
RESULTS = Results((Metrics(0.1, 0.2, 0.3, 0.4, "logistic", 0.5),))
COMPLETE = replace(
    DESCRIPTION,
    versions={"numpy": "2"},
    scores="s.csv",
    note="n",
    inversion="t",
    protocol="p",
    hyperparameters=Hyperparameters("elasticnet", True, 0.1, 0.5),
    validation_srcc=0.5,
    shared=RESULTS,
    nested=RESULTS,
    choice="nested",
    intervals=BootstrapIntervals({"srcc": Interval(0.5, 0.4, 0.6)}, 1000, 3),
    prediction_intervals=PredictionIntervals((0.5, 0.9), (0.2, 0.4), 0.91),
    observers=ObserverSpread(1.0, 20.0, 0.9, 0.1, 0.2),
    n_images=7,
    fit_images="0123456789abcdef fedcba9876543210",
    opinions=Opinions((1.0, 5.0), (1.0, 2.5, 4.5)),
    pair_orders=(PairOrder(0.2, 0.6, 1000), PairOrder(0.4, 0.7, 900)),
)


def load_regressor(path):
    return regressor.load_regressor(path, RegressorDescription)


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 6)).astype(np.float32)
    model = fit(features, features[:, 0], Hyperparameters("ridge", True, 1.0))
    save_regressor(tmp_path / "r.skops", model, DESCRIPTION)
    return tmp_path / "r.skops", model, features


def test_it_comes_back_as_it_was_by_any_of_its_files(saved):
    path, model, features = saved
    expected = 1 + 2 * model.predict(features.astype(np.float64))
    for file in (path, path.with_suffix(".safetensors"), path.with_suffix(".json")):
        loaded = load_regressor(file)
        assert loaded.predict(features) == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert loaded.description == DESCRIPTION
    exported = skops.io.load(path)
    assert np.array_equal(1 + 2 * exported.predict(features.astype(np.float64)), expected)
    path.unlink()
    assert load_regressor(path).description == DESCRIPTION, "the pipeline is not read"


@pytest.mark.parametrize("missing", [("safetensors",), ("json",), ("safetensors", "json")])
def test_missing_files_are_named(saved, missing):
    for ending in missing:
        saved[0].with_suffix(f".{ending}").unlink()
    names = " and ".join(f"r.{ending}" for ending in missing)
    with pytest.raises(UserError, match=rf"r\.skops: {names} do(es)? not exist beside it; train_regressor.py writes"):
        load_regressor(saved[0])


def test_a_description_survives_json(saved):
    path, model, _ = saved
    save_regressor(path, model, COMPLETE)
    assert load_regressor(path).description == read_description(path.with_suffix(".json")) == COMPLETE


def test_a_description_of_the_former_format_is_read(saved):
    """As commit b8bcb8a wrote it: other names, results of the shared choice and by distortion at the top."""
    path, *_ = saved
    content = json.loads(path.with_suffix(".json").read_text()) | json.loads(json.dumps(asdict(COMPLETE)))
    inversion = content.pop("inversion")
    shared, nested = (
        {"figures": {}, "figures_per_split": found["splits"]}
        for found in (content.pop("shared"), content.pop("nested"))
    )
    former = {"format": FORMER_FORMAT, "sha256": "0" * 64, "turned": inversion, "nested": nested,
              "srcc_chosen_within_each_split": 0.3}  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(content | former | shared | {"per_kind": []}))
    assert load_regressor(path).description == COMPLETE


def test_an_old_description_with_the_keys_that_a_prediction_needs_is_read(saved):
    path, *_ = saved
    about = path.with_suffix(".json")
    content = json.loads(about.read_text()) | {"format": FORMER_FORMAT}
    needed = ("format", "weights_sha256", "kinds", "encoders", "calibration", "score_range")
    about.write_text(json.dumps({key: content[key] for key in needed}))
    assert load_regressor(path).description == DESCRIPTION


def test_a_prediction_interval_is_given_or_refused_with_a_sentence():
    with pytest.raises(UserError, match="records no prediction intervals"):
        DESCRIPTION.score_interval(0.9)
    assert (COMPLETE.score_interval(0.9).half_width, COMPLETE.score_interval(0.6).half_width) == (0.4, 0.4)
    with pytest.raises(UserError, match=r"no prediction interval at level 0\.95: the highest level recorded is 0\.9"):
        COMPLETE.score_interval(0.95)


@pytest.mark.parametrize(
    ("score", "ends"),
    [(3.0, (2.6, 3.4)), (4.9, (4.5, 5.0)), (1.1, (1.0, 1.5)), (5.2, (4.8, 5.2)), (0.9, (0.9, 1.3))],
)
def test_an_interval_ends_where_the_scale_ends_and_holds_its_score(score, ends):
    """The scale is from 1 to 5, and the half-width is 0.4."""
    interval = COMPLETE.score_interval(0.9)
    assert interval.ends(score) == pytest.approx(ends)
    assert "score +- 0.4, cut at 1 and 5 (split conformal" in interval.in_words()


def test_another_encoder_is_refused(saved):
    loaded = load_regressor(saved[0])
    loaded.check_encoder("quality_aware", "a" * 64, "x")
    loaded.check_encoder("quality_aware", None, "x")
    loaded.check_encoder("quality_aware", "a" * 64 + "@512", "the same encoder on images of another size")
    with pytest.raises(UserError, match="fitted on quality_aware features of encoder aaaaaaaaaaaa, and x is of bbb"):
        loaded.check_encoder("quality_aware", "b" * 64, "x")
    with pytest.raises(UserError, match="with --pooling layer4_mean, and x is with stages_mean_std; name another"):
        loaded.check_encoder("quality_aware", "a" * 64 + ":stages_mean_std", "x", "name another folder")
    with pytest.raises(UserError, match="takes 6 quality_aware features, and these images have 5"):
        loaded.predict(np.zeros((2, 5), np.float32))


@pytest.mark.parametrize("at", [8, -1])
def test_changed_weights_and_those_of_another_regressor_are_refused(saved, at):
    weights = saved[0].with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[at] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"r\.safetensors and .*r\.json do not belong together, or one was changed"):
        load_regressor(saved[0])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "does not hold a regressor's weights, or is damaged"),
        (b"no weights", "does not hold a regressor's weights, or is damaged"),
        ({"weights": np.ones(6)}, "or is damaged: KeyError: 'mean'"),
        ({"scale": np.ones(5)}, "its arrays have different lengths"),
        ({"mean": np.full(6, np.nan)}, "it holds values that are not finite"),
        ({"intercept": np.ones(2)}, "or is damaged"),
    ],
)  # fmt: skip
def test_what_are_no_weights_is_refused(saved, content, sentence):
    """Even where the JSON was made to fit them."""
    weights, about = saved[0].with_suffix(".safetensors"), saved[0].with_suffix(".json")
    if isinstance(content, bytes):
        weights.write_bytes(content)
    else:
        others = {} if "weights" in content else safetensors.numpy.load_file(weights)
        safetensors.numpy.save_file(others | content, weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    about.write_text(json.dumps(json.loads(about.read_text()) | {"weights_sha256": digest}))
    with pytest.raises(UserError, match=sentence):
        load_regressor(saved[0])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "x"}', "null", '{"format": "Re-IQA regressor 2"}'])
def test_what_is_no_description_is_refused(saved, text):
    saved[0].with_suffix(".json").write_text(text)
    with pytest.raises(UserError, match="does not describe a regressor, or is damaged"):
        load_regressor(saved[0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kinds", []), ("kinds", ["foo"]), ("kinds", ["quality_aware", "quality_aware"]), ("encoders", {"content": 3}),
        ("encoders", ["a"]), ("calibration", {"kind": "linear", "parameters": [1]}), ("calibration", None),
        ("calibration", {"kind": "cubic", "parameters": [1, 2]}), ("calibration", {"kind": "linear"}),
        ("calibration", {"kind": "linear", "parameters": [1, float("nan")]}),
        ("score_range", "abc"), ("score_range", [1]), ("score_range", [0, 10**400]),
    ],
)  # fmt: skip
def test_a_description_that_makes_no_sense_is_refused(saved, key, value):
    about = saved[0].with_suffix(".json")
    about.write_text(json.dumps(json.loads(about.read_text()) | {key: value}))
    for kind in (ScoringDescription, RegressorDescription):
        with pytest.raises(UserError, match="does not describe a regressor, or is damaged"):
            regressor.load_regressor(saved[0], kind)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("n_images", 1.5, "n_images is 1.5, not int"), ("note", None, "note is None, not str"),
        ("validation_srcc", True, "validation_srcc is True, not float"),
        ("prediction_intervals", {"levels": [0.5], "half_widths": [], "coverage": None}, "1 levels and 0 half-widths"),
        ("opinions", {"scale": [1, 5], "quantiles": []}, "0 quantiles do not rise"),
        ("opinions", {"scale": [5, 1], "quantiles": [1, 2]}, "do not rise"),
        ("pair_orders", [{"difference": 1.0}], "pair_orders has no entry 'right'"),
        ("shared", {"splits": [{"srcc": 1}]}, "splits has no entry 'plcc'"), ("versions", {"numpy": 2}, "versions"),
    ],
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_named(saved, key, value, sentence):
    """It does not keep the regressor from scoring for a program that does not read the record."""
    about = saved[0].with_suffix(".json")
    about.write_text(json.dumps(json.loads(about.read_text()) | {key: value}))
    with pytest.raises(UserError, match=f"r.json does not describe a regressor, or is damaged: .*{sentence}"):
        read_description(about)
    assert regressor.load_regressor(saved[0], ScoringDescription).description.kinds == ("quality_aware",)


def test_the_sentence_on_another_file_is_short(saved):
    path, _, _ = saved
    with pytest.raises(UserError, match=r"is damaged: byte \d+ is not utf-8$"):
        read_description(path)
