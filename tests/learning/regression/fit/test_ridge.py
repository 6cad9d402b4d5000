"""Ridge for all penalties at once is scikit-learn's Ridge, fitted one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from learning.regression.fit.linear_models import TrainingPart, ridge_weights, solve_shifted
from learning.regression.fit.search import fit
from learning.regression.model.description import Hyperparameters
from tests.learning.regression.fit.problems import features_and_mos

ALPHAS = np.logspace(6, -3, 19)


@pytest.mark.parametrize("products_known", [False, True])
@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize(("n_images", "n_features"), [(80, 300), (300, 80), (90, 90)])
def test_a_path_is_scikit_learns_ridge(n_images, n_features, standardized, products_known):
    """Fewer images than features, more, and as many: the dual and the primal form. A path, and each fit alone."""
    features, mos = features_and_mos(n_images + 20, n_features)
    train, others = features[:n_images], features[n_images:].astype(np.float64)
    products = None
    if products_known and not standardized:
        products = TrainingPart(features, mos, standardized=False).image_products()[:n_images, :n_images]
    part = TrainingPart(train, mos[:n_images], standardized, products)
    ours = part.predict(features[n_images:], ridge_weights(part, ALPHAS))
    for alpha, predicted in zip(ALPHAS, ours, strict=True):
        theirs = make_pipeline(*([StandardScaler()] if standardized else []), Ridge(alpha=alpha, solver="cholesky"))
        expected = theirs.fit(train.astype(np.float64), mos[:n_images]).predict(others)
        assert predicted == pytest.approx(expected, abs=1e-5 * mos.std()), alpha
        alone = fit(features[:n_images], mos[:n_images], Hyperparameters("ridge", standardized, alpha))
        assert alone.predict(others) == pytest.approx(expected, abs=1e-5 * mos.std()), alpha


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 12), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_shifted_systems_are_solved(size, rank, n_shifts, seed):
    """Also a matrix of low rank, and zero."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(size, rank)) * np.logspace(2, -2, rank) if rank else np.zeros((size, 1))
    matrix, target = factor @ factor.T, rng.normal(size=size)
    before, shifts = matrix.copy(), np.logspace(3, -2, n_shifts)
    for shift, solution in zip(shifts, solve_shifted(matrix, target, shifts).T, strict=True):
        residual = matrix @ solution + shift * solution - target
        assert np.linalg.norm(residual) <= 1e-7 * np.linalg.norm(target)
    assert np.array_equal(matrix, before)


def test_a_target_of_zeros_is_solved_by_zeros():
    assert not solve_shifted(np.eye(4), np.zeros(4), [1.0, 2.0]).any()
