"""ElasticNet converges to scikit-learn's solution, run to convergence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from learning.regression.fit import linear_models
from learning.regression.fit.linear_models import TrainingPart, elastic_net_weights
from learning.regression.fit.search import fit
from learning.regression.model.description import Hyperparameters
from tests.learning.regression.fit.problems import features_and_mos


@pytest.mark.parametrize("l1_ratio", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize(("n_images", "n_features"), [(100, 60), (50, 120)])
def test_a_path_is_scikit_learns_run_to_convergence(n_images, n_features, standardized, l1_ratio, monkeypatch):
    """Many features for an image, and few, whose inner products serve all penalties. A path, and each fit alone."""
    features, mos = features_and_mos(n_images + 20, n_features)
    train, opinions, others = features[:n_images], mos[:n_images], features[n_images:]
    alphas, tolerance = [1.0, 0.3, 0.1, 0.01], 2e-3 * mos.std()
    part = TrainingPart(train, opinions, standardized)
    assert (part.feature_products is None) == (n_features > 2 * n_images)
    monkeypatch.setattr(linear_models.log, "warning", pytest.fail)  # a fit that did not converge
    weights = elastic_net_weights(part, l1_ratio, alphas)
    for alpha, predicted in zip(alphas, part.predict(others, weights), strict=True):
        steps = [StandardScaler()] if standardized else []
        theirs = make_pipeline(*steps, ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=1e-8, max_iter=1_000_000))
        expected = theirs.fit(train.astype(np.float64), opinions).predict(others.astype(np.float64))
        assert predicted == pytest.approx(expected, abs=tolerance), alpha
        fitted = fit(features[:n_images], mos[:n_images], Hyperparameters("elasticnet", standardized, alpha, l1_ratio))
        assert fitted.predict(others) == pytest.approx(expected, abs=tolerance), alpha


@given(
    st.integers(2, 30), st.integers(1, 40), st.floats(0.05, 0.95), st.integers(-6, 3), st.integers(0, 9), st.booleans()
)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_objective_is_minimal(n_images, n_features, l1_ratio, exponent, seed, by_products):
    """Also for collinear features and penalties close to 0, with inner products of features and without."""
    rng = np.random.default_rng(seed)
    rank = max(1, n_features // 3)
    features = (rng.normal(size=(n_images, rank)) @ rng.normal(size=(rank, n_features))).astype(np.float32)
    mos, alpha = rng.normal(size=n_images), 10.0**exponent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_models, "MOST_FEATURES_PER_IMAGE", n_features if by_products else 0)
        part = TrainingPart(features, mos, standardized=False)
        assert (part.feature_products is not None) == by_products
        patch.setattr(linear_models.log, "warning", pytest.fail)  # a fit that did not converge
        weights = elastic_net_weights(part, l1_ratio, [alpha])[:, 0]
    z, t = part.features, part.target

    def objective(w):
        residual = t - z @ w
        return residual @ residual / 2 + n_images * alpha * (l1_ratio * abs(w).sum() + (1 - l1_ratio) * w @ w / 2)

    reference = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-10, max_iter=20_000)
    assert objective(weights) <= objective(reference.fit(z, t).coef_) + 3e-8 * (t @ t)
