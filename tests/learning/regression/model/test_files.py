"""A regressor on disk comes back as it was, or is refused: nothing in it is executed, nothing is guessed."""

import hashlib
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from common.errors import UserError
from learning.regression.evaluate.conformal import PredictionIntervals
from learning.regression.evaluate.mappings import OpinionMapping
from learning.regression.evaluate.results import Interval, Metrics, ObserverSpread, Spread
from learning.regression.fit.linear_model import LinearModel, write_linear_model
from learning.regression.fit.search import fit
from learning.regression.fit.settings import Hyperparameters
from learning.regression.model.description import BootstrapIntervals, RegressorDescription, ResultsSummary
from learning.regression.model.files import (
    description_file,
    load_regressor,
    read_description,
    save_regressor,
    weights_file,
)
from learning.regression.model.pipeline_files import read_pipeline

DESCRIPTION = RegressorDescription(
    kinds=("quality_aware",),
    encoders={"quality_aware": "a" * 64},
    calibration=OpinionMapping("linear", (1.0, 2.0)),
    score_range=(1, 5),
)


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 6)).astype(np.float32)
    pipeline = fit(features, features[:, 0], Hyperparameters("ridge", True, 1.0))
    save_regressor(tmp_path / "r.skops", pipeline, DESCRIPTION)
    return tmp_path / "r.skops", pipeline, features


def test_it_comes_back_as_it_was(saved):
    path, pipeline, features = saved
    regressor = load_regressor(path)
    assert np.array_equal(regressor.predict(features), 1 + 2 * pipeline.predict(features.astype(np.float64)))
    assert type(read_pipeline(path)) is Pipeline and regressor.kinds == ("quality_aware",)
    assert regressor.description == DESCRIPTION


def test_an_old_description_with_the_keys_that_a_prediction_needs_is_read(saved):
    path, *_ = saved
    about = description_file(path)
    content = json.loads(about.read_text())
    needed = ("format", "sha256", "kinds", "encoders", "calibration", "score_range")
    about.write_text(json.dumps({key: content[key] for key in needed}))
    assert load_regressor(path).description == DESCRIPTION


def test_a_description_survives_json():
    spread, split = Spread(0.1, 0.2, 0.3, 0.4, 0.5), Metrics(0.1, 0.2, 0.3, 0.4, "logistic", 0.5)
    summary = ResultsSummary({"srcc": spread}, (split,))
    complete = replace(
        DESCRIPTION,
        versions={"numpy": "2"},
        scores="s.csv",
        note="n",
        inversion="t",
        protocol="p",
        hyperparameters=Hyperparameters("elasticnet", True, 0.1, 0.5),
        validation_srcc=0.5,
        shared=summary,
        nested=summary,
        choice="nested",
        intervals=BootstrapIntervals({"srcc": Interval(0.5, 0.4, 0.6)}, 1000, 3),
        prediction_intervals=PredictionIntervals((0.5, 0.9), (0.2, 0.4), 0.91),
        observers=ObserverSpread(1.0, 20.0, 0.9, 0.1, 0.2),
        srcc_chosen_within_each_split=0.3,
        n_images=7,
    )
    assert RegressorDescription.from_json(json.loads(json.dumps(complete.to_json()))) == complete


def test_a_prediction_interval_is_given_or_refused_with_a_sentence(saved):
    path, pipeline, _ = saved
    with pytest.raises(UserError, match="records no prediction intervals"):
        load_regressor(path).interval_half_width(0.9)
    with_intervals = replace(DESCRIPTION, prediction_intervals=PredictionIntervals((0.5, 0.9), (0.2, 0.4), None))
    save_regressor(path, pipeline, with_intervals)
    regressor = load_regressor(path)
    assert (regressor.interval_half_width(0.9), regressor.interval_half_width(0.6)) == (0.4, 0.4)
    with pytest.raises(UserError, match=r"no prediction interval at level 0\.95: the highest level recorded is 0\.9"):
        regressor.interval_half_width(0.95)


def test_another_encoder_is_refused(saved):
    regressor = load_regressor(saved[0])
    regressor.check_encoder("quality_aware", "a" * 64, "x")
    regressor.check_encoder("quality_aware", None, "x")
    with pytest.raises(UserError, match="fitted on quality_aware features of encoder aaaaaaaaaaaa, and x is of bbb"):
        regressor.check_encoder("quality_aware", "b" * 64, "x")
    with pytest.raises(UserError, match="with --pooling layer4_mean, and x is with stages_mean_std; name another"):
        regressor.check_encoder("quality_aware", "a" * 64 + ":stages_mean_std", "x", "name another folder")
    with pytest.raises(UserError, match="takes 6 quality_aware features, and these images have 5"):
        regressor.predict(np.zeros((2, 5), np.float32))


def test_a_changed_file_is_refused(saved):
    path, *_ = saved
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="do not belong together, or one was changed"):
        load_regressor(path)


def test_a_foreign_type_is_refused_and_does_nothing(saved, tmp_path):
    """Even where the JSON was made to fit it."""
    path, *_ = saved
    skops.io.dump(Pipeline([("evil", FunctionTransformer(func=print))]), path)
    _fit_digest(path)
    with pytest.raises(UserError, match="is unsafe: it holds"):
        load_regressor(path)


def _fit_digest(path):
    about = description_file(path)
    content = json.loads(about.read_text()) | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    about.write_text(json.dumps(content))


@pytest.mark.parametrize("damage", ["empty", "text", "zip", "estimator"])
def test_what_is_no_regressor_is_refused(saved, damage):
    path, *_ = saved
    if damage == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("schema.json", "{}")
    elif damage == "estimator":
        skops.io.dump(read_pipeline(path)[-1], path)
    else:
        path.write_text({"empty": "", "text": "no regressor"}[damage])
    _fit_digest(path)
    with pytest.raises(UserError, match=r"is not a regressor, or is damaged|not a scikit-learn pipeline"):
        load_regressor(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "x"}', "null", '{"format": "Re-IQA regressor 1"}'])
def test_what_is_no_description_is_refused(saved, text):
    description_file(saved[0]).write_text(text)
    with pytest.raises(UserError, match="describe a regressor"):
        load_regressor(saved[0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kinds", []), ("kinds", ["foo"]), ("kinds", ["quality_aware", "quality_aware"]), ("score_range", "abc"),
        ("score_range", [1]), ("encoders", {"quality_aware": 3}),
        ("calibration", {"kind": "linear", "parameters": [1]}),
        ("calibration", {"kind": "cubic", "parameters": [1, 2]}), ("calibration", None),
    ],
)  # fmt: skip
def test_a_description_that_makes_no_sense_is_refused(saved, key, value):
    about = description_file(saved[0])
    about.write_text(json.dumps(json.loads(about.read_text()) | {key: value}))
    with pytest.raises(UserError, match="does not describe a regressor, or is damaged"):
        load_regressor(saved[0])


def test_the_sentence_on_another_file_is_short(saved):
    path, _, _ = saved
    with pytest.raises(UserError, match=r"is damaged: byte \d+ is not utf-8$"):
        read_description(path)


def test_what_is_not_finite_or_not_fitted_is_refused(saved):
    path, *_ = saved
    pipeline = read_pipeline(path)
    pipeline[-1].coef_[0] = np.nan
    skops.io.dump(pipeline, path)
    _fit_digest(path)
    with pytest.raises(UserError, match="holds values that are not finite"):
        load_regressor(path)
    skops.io.dump(make_pipeline(Ridge()), path)
    _fit_digest(path)
    with pytest.raises(UserError, match="has not fitted"):
        load_regressor(path)


def test_a_missing_half_is_named(saved):
    description_file(saved[0]).unlink()
    with pytest.raises(UserError, match=r"r\.json does not exist"):
        load_regressor(saved[0])


def test_weights_give_the_pipelines_scores(saved):
    path, pipeline, features = saved
    from_weights = load_regressor(path)
    weights_file(path).unlink()  # as an earlier version left it
    from_pipeline = load_regressor(path)
    expected = DESCRIPTION.calibration(pipeline.predict(features.astype(np.float64)))
    for regressor in (from_weights, from_pipeline):
        assert np.allclose(regressor.predict(features), expected, rtol=1e-12, atol=1e-12)


def test_changed_weights_are_refused_and_those_of_another_pipeline_not_used(saved):
    path, _, features = saved
    expected = load_regressor(path).predict(features)
    content = bytearray(weights_file(path).read_bytes())
    content[-1] ^= 1
    weights_file(path).write_bytes(content)
    with pytest.raises(UserError, match=r"r\.safetensors and .*r\.json do not belong together"):
        load_regressor(path)

    write_linear_model(weights_file(path), LinearModel(*np.zeros((3, 6)), 0.0), "0" * 64)
    about = description_file(path)
    digest = hashlib.sha256(weights_file(path).read_bytes()).hexdigest()
    about.write_text(json.dumps(json.loads(about.read_text()) | {"weights_sha256": digest}))
    assert np.allclose(load_regressor(path).predict(features), expected, rtol=1e-12, atol=1e-12)
