"""The search gives what scikit-learn's own estimators give, fitted one by one."""

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import learning.regression.fit.search as search_module
from learning.regression.evaluate.metrics import srcc
from learning.regression.evaluate.protocol import run_protocol
from learning.regression.fit.search import Grid, search
from learning.regression.fit.splits import random_splits
from tests.learning.regression.fit.problems import MEMORY, features_and_mos

pytestmark = pytest.mark.slow


def test_the_search_agrees_with_grid_search_cv():
    features, mos = features_and_mos(150, 400)
    alphas = tuple(np.logspace(-1, 5, 13).tolist())
    splits = random_splits(150, None, 5, (70, 10, 20), 0)
    found = search(features, mos, splits, Grid(("ridge",), (False,), alphas), 2, MEMORY)
    reference = GridSearchCV(
        Ridge(), {"alpha": alphas}, cv=[(split.train, split.validation) for split in splits],
        scoring=lambda model, x, y: float(srcc(model.predict(x), y)),
    ).fit(features.astype(np.float64), mos)  # fmt: skip
    theirs = np.array([reference.cv_results_[f"split{index}_test_score"] for index in range(5)])
    assert found.srcc[:, ::-1] == pytest.approx(theirs, abs=1e-12), "the same ranks for every penalty on every split"
    assert found.best.alpha == alphas[::-1][np.argmax(np.median(theirs, axis=0)[::-1])]


def test_the_choice_is_that_of_scikit_learns_elastic_net():
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


def test_processes_and_memory_change_nothing(monkeypatch):
    monkeypatch.setattr(search_module, "FEWEST_VALUES", 0)
    features, mos = features_and_mos(60, 50)
    splits = random_splits(60, None, 3, (70, 10, 20), 0)
    grid = Grid(ridge_alphas=(1, 10), elasticnet_alphas=(0.1,), l1_ratios=(0.5,))
    done = []
    one = search(features, mos, splits, grid, 1, MEMORY, done.append)
    for threads, memory in ((2, MEMORY), (4, 1)):
        assert np.array_equal(one.srcc, search(features, mos, splits, grid, threads, memory).srcc)
    assert sum(done) == 3 * len(grid.paths()) and one.srcc.size == 3 * 2 * 3


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
    before = run_protocol(features, mos, [split], grid, 1, MEMORY).tests["nested"].predictions[0, split.test]
    changed = mos.copy()
    changed[split.test] = 99
    features[split.test[0]] += 1
    after = run_protocol(features, changed, [split], grid, 1, MEMORY).tests["nested"].predictions[0, split.test]
    assert before[1:] == pytest.approx(after[1:], abs=1e-9), "test scores or features were learnt from"


def test_labels_of_pure_noise_predict_nothing():
    """The protocol's own leak test: 40 searches over 26 candidates find nothing where there is nothing to find."""
    medians, within = [], []
    for seed in range(40):
        features, mos = features_and_mos(100, 40, seed, signal=0.0)
        splits = random_splits(100, None, 5, (70, 10, 20), seed)
        grid = Grid(("ridge",), ridge_alphas=tuple(np.logspace(-1, 5, 13)))
        evaluation = run_protocol(features, mos, splits, grid, 1, MEMORY)
        medians.append(evaluation.tests["shared"].median("srcc"))
        within.append(evaluation.tests["nested"].median("srcc"))
        assert evaluation.search.median.max() > evaluation.tests["shared"].median("srcc") - 0.5
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
        by_group.append(run_protocol(features, mos, by_group_splits, grid, 1, MEMORY).tests["nested"].median("srcc"))
        by_image_splits = random_splits(200, None, 5, (70, 10, 20), seed)
        by_image.append(run_protocol(features, mos, by_image_splits, grid, 1, MEMORY).tests["nested"].median("srcc"))
    assert np.mean(by_image) > 0.8, "by image, every scene is known from training"
    assert abs(np.mean(by_group)) < 0.2


@pytest.mark.parametrize("signal", [0.0, 0.3, 2.0])
def test_the_calibration_keeps_the_order_of_predictions(signal):
    for seed in range(10):
        features, mos = features_and_mos(40, 20, seed, signal)
        grid = Grid(("ridge",), (True,), (1.0, 100.0))
        evaluation = run_protocol(features, mos, random_splits(40, None, 5, (70, 10, 20), seed), grid, 1, MEMORY)
        predicted = np.sort(evaluation.model.predict(features))
        scores = evaluation.calibration(predicted)
        assert len(np.unique(scores.round(6))) > 0.9 * len(scores) and (np.diff(scores) >= 0).all()
