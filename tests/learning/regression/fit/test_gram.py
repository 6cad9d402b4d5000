"""Regressions from inner products of features give what the features themselves give."""

import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import learning.regression.fit.search as search_module
from learning.regression.evaluate.metrics import srcc
from learning.regression.fit.elastic_net import solve_elastic_net
from learning.regression.fit.elastic_net_of_gram import elasticnet_weights
from learning.regression.fit.gram import SharedGram, TrainingGram
from learning.regression.fit.search import evaluate_on_test, fit, search, shared_gram
from learning.regression.fit.settings import Grid, Hyperparameters
from learning.regression.fit.splits import random_splits
from learning.regression.model.files import save_regressor
from tests.learning.regression.fit.test_search import MEMORY, features_and_mos
from tests.learning.regression.model.test_files import DESCRIPTION


@pytest.mark.parametrize("n_train", [15, 60])
@pytest.mark.parametrize("standardized", [False, True])
def test_products_of_a_training_part(standardized, n_train):
    """Computed anew, or as those of all images less the others; features 0 and 1 do not vary in the part."""
    features, mos = features_and_mos(80, 30)
    rows = np.random.default_rng(1).permutation(80)[:n_train]
    features[rows, 1] = 0.25
    gram = SharedGram(features).of_training(rows, mos[rows], standardized)
    centred = features[rows].astype(float) - features[rows].astype(float).mean(axis=0)
    scale = np.where(centred.std(axis=0) > 1e-9, centred.std(axis=0), 1) if standardized else 1
    centred /= scale
    target = mos[rows] - mos[rows].mean()
    assert gram.matrix == pytest.approx(centred.T @ centred, abs=1e-10 * n_train)
    assert gram.moment == pytest.approx(centred.T @ target, abs=1e-10 * n_train)
    assert gram.target_squares == pytest.approx(target @ target) and gram.n_images == n_train
    weights = np.random.default_rng(2).normal(size=(30, 2))
    weights[:2] = 0
    expected = mos[rows].mean() + (features - features[rows].astype(float).mean(axis=0)) / scale @ weights
    assert gram.predict(features, weights) == pytest.approx(expected.T)


@pytest.mark.parametrize("l1_ratio", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("standardized", [False, True])
def test_the_path_is_scikit_learns_run_to_convergence(standardized, l1_ratio):
    features, mos = features_and_mos(120, 60)
    rows, others, alphas = np.arange(100), features[100:], [1.0, 0.3, 0.1, 0.01]
    gram = SharedGram(features).of_training(rows, mos[rows], standardized)
    weights, unconverged = elasticnet_weights(gram, l1_ratio, alphas)
    assert not unconverged.any()
    for alpha, predicted in zip(alphas, gram.predict(others, weights), strict=True):
        steps = [StandardScaler()] if standardized else []
        theirs = make_pipeline(*steps, ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=1e-8, max_iter=1_000_000))
        expected = theirs.fit(features[rows].astype(np.float64), mos[rows]).predict(others.astype(np.float64))
        assert predicted == pytest.approx(expected, abs=2e-3 * mos.std()), alpha


@given(st.integers(2, 30), st.integers(1, 40), st.floats(0.05, 0.95), st.integers(-6, 3), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_the_objective_is_that_of_the_method_on_features(n_images, n_features, l1_ratio, exponent, seed):
    """Also for collinear features and penalties close to 0; each gap is at most 1e-8 of |t|^2."""
    rng = np.random.default_rng(seed)
    rank = max(1, n_features // 3)
    z = rng.normal(size=(n_images, rank)) @ rng.normal(size=(rank, n_features))
    t, alpha = rng.normal(size=n_images), 10.0**exponent
    ones = np.ones(n_features)
    gram = TrainingGram(z.T @ z, z.T @ t, float(t @ t), n_images, 0 * ones, ones, 0.0)
    (weights,), unconverged = (found.T for found in elasticnet_weights(gram, l1_ratio, [alpha]))
    l1, l2 = n_images * alpha * l1_ratio, n_images * alpha * (1 - l1_ratio)

    def objective(w):
        residual = t - z @ w
        return residual @ residual / 2 + l1 * np.abs(w).sum() + l2 * w @ w / 2

    reference = objective(solve_elastic_net(z, t, alpha, l1_ratio).weights)
    assert not unconverged.any() and objective(weights) == pytest.approx(reference, abs=3e-8 * (t @ t))


def test_both_ways_of_searching_agree(monkeypatch):
    """By features, by images; the candidates' ranks, and the choice of every split."""
    features, mos = features_and_mos(120, 90)
    splits = random_splits(120, None, 3, (70, 10, 20), 0)
    assert shared_gram(features, splits, 1) is not None
    by_features = search(features, mos, splits, Grid(), 2, MEMORY)
    monkeypatch.setattr(search_module, "MOST_FEATURES_PER_IMAGE", 0)
    assert shared_gram(features, splits, 1) is None
    by_images = search(features, mos, splits, Grid(), 2, MEMORY)
    assert not by_features.unconverged.any() and not by_images.unconverged.any()
    assert by_features.median == pytest.approx(by_images.median, abs=0.02), "12 images are ranked: one swap is 0.007"
    assert by_features.best == by_images.best


def test_the_choice_is_that_of_scikit_learn_run_to_convergence():
    features, mos = features_and_mos(100, 40)
    splits = random_splits(100, None, 3, (60, 20, 20), 0)
    grid = Grid(estimators=("elasticnet",), elasticnet_alphas=(1.0, 0.1, 0.01))
    found = search(features, mos, splits, grid, 1, MEMORY)
    theirs = np.empty_like(found.srcc)
    for row, split in enumerate(splits):
        for column, one in enumerate(found.candidates):
            steps = [StandardScaler()] if one.standardized else []
            model = make_pipeline(*steps, ElasticNet(alpha=one.alpha, l1_ratio=one.l1_ratio, tol=1e-9, max_iter=10**6))
            model.fit(features[split.train].astype(float), mos[split.train])
            theirs[row, column] = srcc(model.predict(features[split.validation].astype(float)), mos[split.validation])
    assert found.srcc == pytest.approx(theirs, abs=0.01)
    assert found.best == found.candidates[int(np.argmax(np.median(theirs, axis=0)))]


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize(("estimator", "alpha", "l1_ratio"), [("ridge", 3.0, None), ("elasticnet", 0.05, 0.5)])
def test_a_fit_by_products_is_the_fit_by_features(tmp_path, estimator, alpha, l1_ratio, standardized):
    """The pipeline is complete: it predicts, and a file gives it back."""
    features, mos = features_and_mos(90, 40)
    candidate = Hyperparameters(estimator, standardized, alpha, l1_ratio)
    rows = np.arange(10, 90)
    plain, by_products = fit(features, mos, candidate, rows), fit(features, mos, candidate, rows, SharedGram(features))
    values = features.astype(np.float64)
    assert by_products.predict(values) == pytest.approx(plain.predict(values), abs=1e-3 * mos.std())
    save_regressor(tmp_path / "r.skops", by_products, DESCRIPTION)
    loaded = skops.io.load(tmp_path / "r.skops")
    assert np.array_equal(loaded.predict(values), by_products.predict(values))


def test_a_test_part_does_not_take_part_in_a_fit():
    features, mos = features_and_mos(80, 30)
    (split,) = random_splits(80, None, 1, (70, 10, 20), 0)
    candidate = Hyperparameters("ridge", True, 10.0)
    before = evaluate_on_test(features, mos, split, candidate, gram=SharedGram(features))
    features[split.test[0]] += 100
    mos[split.test] = 99
    after = evaluate_on_test(features, mos, split, candidate, gram=SharedGram(features))
    assert before.predicted[1:] == pytest.approx(after.predicted[1:], abs=1e-6)
