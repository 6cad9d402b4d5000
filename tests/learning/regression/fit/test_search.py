"""The search gives what scikit-learn's own estimators give, fitted one by one."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet, Lasso, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from learning.regression.evaluate.metrics import srcc
from learning.regression.evaluate.protocol import run_protocol
from learning.regression.fit.elastic_net import solve_elastic_net
from learning.regression.fit.linear_paths import elasticnet_path, ridge_path, solve_shifted
from learning.regression.fit.search import fit, search
from learning.regression.fit.settings import Grid, Hyperparameters
from learning.regression.fit.splits import random_splits

ALPHAS = np.logspace(6, -3, 19)
MEMORY = 2**30


def features_and_mos(n_images, n_features, seed=0, signal=1.0):
    """Positive, correlated features of unequal spread with a column that never varies, and scores."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n_images, 12))
    features = factors @ rng.normal(size=(12, n_features)) + 0.3 * rng.normal(size=(n_images, n_features))
    features = np.maximum(features, 0) * rng.gamma(2, 0.3, n_features)
    features[:, 0] = 0.7
    mos = signal * factors[:, :4].sum(axis=1) + rng.normal(size=n_images)
    return features.astype(np.float32), mos


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize(("n_images", "n_features"), [(80, 300), (300, 80), (90, 90)])
def test_ridge_path_is_scikit_learns_ridge(n_images, n_features, standardized):
    """Fewer images than features, more, and as many: the dual and the primal form."""
    features, mos = features_and_mos(n_images + 20, n_features)
    train, others = features[:n_images], features[n_images:]
    ours = ridge_path(train, mos[:n_images], others, standardized, ALPHAS)
    for alpha, predicted in zip(ALPHAS, ours, strict=True):
        candidate = Hyperparameters("ridge", standardized, alpha)
        theirs = fit(train, mos[:n_images], candidate).predict(others.astype(np.float64))
        assert predicted == pytest.approx(theirs, abs=1e-5 * mos.std()), alpha


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 12), st.integers(0, 9))
@example(33, 26, 11, 5)  # every shift becomes a pole
@settings(max_examples=40, deadline=None)
def test_shifted_systems_are_solved(size, rank, n_shifts, seed):
    """Also a matrix of low rank, and zero."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(size, rank)) * np.logspace(2, -2, rank) if rank else np.zeros((size, 1))
    matrix, target = factor @ factor.T, rng.normal(size=size)
    shifts = np.logspace(3, -2, n_shifts)
    for shift, solution in zip(shifts, solve_shifted(matrix, target, shifts).T, strict=True):
        residual = matrix @ solution + shift * solution - target
        assert np.linalg.norm(residual) <= 1e-7 * np.linalg.norm(target)


def test_a_target_of_zeros_is_solved_by_zeros():
    assert not solve_shifted(np.eye(3), np.zeros(3), np.array([1.0, 2.0])).any()


@pytest.mark.parametrize("l1_ratio", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize(("n_images", "n_features"), [(100, 60), (50, 120)])
def test_elasticnet_path_is_scikit_learns_run_to_convergence(n_images, n_features, standardized, l1_ratio):
    features, mos = features_and_mos(n_images + 20, n_features)
    train, others, opinions = features[:n_images], features[n_images:], mos[:n_images]
    alphas = [1.0, 0.3, 0.1, 0.01]
    ours, unconverged = elasticnet_path(train, opinions, others, standardized, l1_ratio, alphas)
    assert not unconverged.any()
    for alpha, predicted in zip(alphas, ours, strict=True):
        steps = [StandardScaler()] if standardized else []
        theirs = make_pipeline(*steps, ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=1e-8, max_iter=1_000_000))
        expected = theirs.fit(train.astype(np.float64), opinions).predict(others.astype(np.float64))
        tolerance = 2e-3
        assert predicted == pytest.approx(expected, abs=tolerance * mos.std()), alpha
        fitted = fit(train, opinions, Hyperparameters("elasticnet", standardized, alpha, l1_ratio))
        assert fitted.predict(others.astype(np.float64)) == pytest.approx(expected, abs=tolerance * mos.std())


def test_an_l1_ratio_of_1_is_the_lasso():
    features, mos = features_and_mos(120, 30)
    ours, unconverged = elasticnet_path(features[:100], mos[:100], features[100:], True, 1.0, [1.0, 0.1])
    theirs = make_pipeline(StandardScaler(), Lasso(alpha=0.1, tol=1e-10, max_iter=100_000))
    expected = theirs.fit(features[:100].astype(np.float64), mos[:100]).predict(features[100:].astype(np.float64))
    assert not unconverged.any() and ours[1] == pytest.approx(expected, abs=1e-2 * mos.std())


@given(st.integers(2, 30), st.integers(1, 40), st.floats(0.05, 0.95), st.integers(-6, 3), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_elasticnet_satisfies_its_optimality_conditions(n_images, n_features, l1_ratio, exponent, seed):
    """Also for collinear features and penalties close to 0; w_j = S(z_j'(t - Z w), l1) / l2 at the optimum."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_images, max(1, n_features // 3))) @ rng.normal(
        size=(max(1, n_features // 3), n_features)
    )
    target, alpha = rng.normal(size=n_images), 10.0**exponent
    solution = solve_elastic_net(features, target, alpha, l1_ratio)
    assert solution.converged
    w = solution.weights
    residual = target - features @ w
    primal = residual @ residual / 2 + n_images * alpha * (l1_ratio * abs(w).sum() + (1 - l1_ratio) * w @ w / 2)
    reference = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-10, max_iter=20_000)
    v = reference.fit(features, target).coef_
    r = target - features @ v
    theirs = r @ r / 2 + n_images * alpha * (l1_ratio * abs(v).sum() + (1 - l1_ratio) * v @ v / 2)
    assert primal <= theirs + 2e-6 * (target @ target)


def test_the_search_agrees_with_grid_search_cv():
    features, mos = features_and_mos(150, 400)
    features, alphas = features.astype(np.float32), tuple(np.logspace(-1, 5, 13).tolist())
    splits = random_splits(150, None, 5, (70, 10, 20), 0)
    found = search(features, mos, splits, Grid(("ridge",), (False,), alphas), 2, MEMORY)
    reference = GridSearchCV(
        Ridge(), {"alpha": alphas}, cv=[(split.train, split.validation) for split in splits],
        scoring=lambda model, x, y: float(srcc(model.predict(x), y)),
    ).fit(features.astype(np.float64), mos)  # fmt: skip
    theirs = np.array([reference.cv_results_[f"split{index}_test_score"] for index in range(5)])
    assert found.srcc[:, ::-1] == pytest.approx(theirs, abs=1e-12), "the same ranks for every penalty on every split"
    assert found.best.alpha == alphas[::-1][np.argmax(np.median(theirs, axis=0)[::-1])]


def test_threads_and_memory_change_nothing():
    features, mos = features_and_mos(60, 50)
    splits = random_splits(60, None, 3, (70, 10, 20), 0)
    grid = Grid(ridge_alphas=(1, 10), elasticnet_alphas=(0.1,), l1_ratios=(0.5,))
    done = []
    one = search(features, mos, splits, grid, 1, MEMORY, done.append)
    two = search(features, mos, splits, grid, 4, 1)
    assert np.array_equal(one.srcc, two.srcc) and sum(done) == 3 * len(grid.paths()) and one.srcc.size == 3 * 2 * 3


def test_the_stronger_penalty_wins_a_tie():
    """Between penalties that rank alike, the one that trusts single features less."""
    features, mos = features_and_mos(60, 50)
    splits = random_splits(60, None, 2, (70, 10, 20), 0)
    found = search(features, mos, splits, Grid(("ridge",), (True,), (1e-9, 1e-8)), 1, MEMORY)
    assert found.srcc[:, 0] == pytest.approx(found.srcc[:, 1]) and found.best.alpha == 1e-8


def test_a_test_part_is_predicted_by_what_learnt_from_the_others():
    features, mos = features_and_mos(80, 30)
    (split,) = random_splits(80, None, 1, (70, 10, 20), 0)
    grid = Grid(("ridge",), (True,), (10.0,))
    before = run_protocol(features, mos, [split], grid, 1, MEMORY).nested.predictions[0, split.test]
    changed = mos.copy()
    changed[split.test] = 99
    features[split.test[0]] += 1
    after = run_protocol(features, changed, [split], grid, 1, MEMORY).nested.predictions[0, split.test]
    assert before[1:] == pytest.approx(after[1:], abs=1e-9), "test scores or features were learnt from"


def test_labels_of_pure_noise_predict_nothing():
    """The protocol's own leak test: 40 searches over 26 candidates find nothing where there is nothing to find."""
    medians, within = [], []
    for seed in range(40):
        features, mos = features_and_mos(100, 40, seed, signal=0.0)
        splits = random_splits(100, None, 5, (70, 10, 20), seed)
        grid = Grid(("ridge",), ridge_alphas=tuple(np.logspace(-1, 5, 13)))
        evaluation = run_protocol(features, mos, splits, grid, 1, MEMORY)
        medians.append(evaluation.shared.spread("srcc").median)
        within.append(evaluation.nested.spread("srcc").median)
        assert evaluation.search.median.max() > evaluation.shared.spread("srcc").median - 0.5
    # Medians of 5 correlations of 20 images spread by about 0.15; the mean of 40 of them by 0.025.
    assert abs(np.mean(medians)) < 0.08 and abs(np.mean(within)) < 0.08


def test_scenes_on_one_side_only_give_nothing_away():
    """Features that tell only the scene, scores that depend only on the scene: by group there is nothing to learn."""
    groups = np.repeat(np.arange(40), 5)
    grid = Grid(("ridge",), (True,), (1e-3, 1.0, 100.0))
    by_group, by_image = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        features = (rng.normal(size=(40, 80))[groups] + 0.01 * rng.normal(size=(200, 80))).astype(np.float32)
        mos = rng.normal(size=40)[groups]
        by_group_splits = random_splits(200, groups.astype(str), 5, (70, 10, 20), seed)
        by_group.append(run_protocol(features, mos, by_group_splits, grid, 1, MEMORY).reported.spread("srcc").median)
        by_image_splits = random_splits(200, None, 5, (70, 10, 20), seed)
        by_image.append(run_protocol(features, mos, by_image_splits, grid, 1, MEMORY).reported.spread("srcc").median)
    assert np.mean(by_image) > 0.8, "by image, every scene is known from training"
    assert abs(np.mean(by_group)) < 0.2


@pytest.mark.parametrize("signal", [0.0, 0.3, 2.0])
def test_the_calibration_keeps_the_order_of_predictions(signal):
    for seed in range(10):
        features, mos = features_and_mos(40, 20, seed, signal)
        grid = Grid(("ridge",), (True,), (1.0, 100.0))
        evaluation = run_protocol(features, mos, random_splits(40, None, 5, (70, 10, 20), seed), grid, 1, MEMORY)
        predicted = np.sort(evaluation.pipeline.predict(features.astype(np.float64)))
        scores = evaluation.calibration(predicted)
        assert len(np.unique(scores.round(6))) > 0.9 * len(scores) and (np.diff(scores) >= 0).all()
