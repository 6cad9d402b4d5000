"""SRCC, PLCC, KRCC, RMSE and the logistic, against scipy and numbers worked out by hand."""

import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from learning.regression.evaluate.metrics import fit_mapping, krcc, metrics_of, srcc

values = st.lists(st.integers(-5, 5), min_size=3, max_size=30)


@given(values, st.randoms(use_true_random=False))
def test_srcc_and_krcc_are_scipys_also_with_ties(mos, random):
    predicted = [random.randint(-3, 3) for _ in mos]
    if len(set(mos)) == 1 or len(set(predicted)) == 1:
        assert srcc(predicted, mos) == 0 and krcc(predicted, mos) == 0, "what is constant orders nothing"
        return
    assert srcc(predicted, mos) == pytest.approx(scipy.stats.spearmanr(predicted, mos).statistic, abs=1e-12)
    assert krcc(predicted, mos) == pytest.approx(scipy.stats.kendalltau(predicted, mos).statistic, abs=1e-12)


def test_srcc_by_hand():
    """1 - 6 sum d^2 / (n (n^2 - 1)) with d = 1, 1, 0, 1, 1."""
    assert srcc(np.array([2, 1, 3, 5, 4]), np.arange(5)) == pytest.approx(1 - 6 * 4 / (5 * 24))


def test_srcc_of_many_predictions_at_once():
    rng = np.random.default_rng(0)
    predicted, mos = rng.normal(size=(7, 20)), rng.normal(size=20)
    assert srcc(predicted, mos) == pytest.approx([float(srcc(row, mos)) for row in predicted])


def test_the_logistic_finds_its_own_parameters():
    x = np.linspace(-4, 10, 80)
    mos = 20 + (90 - 20) / (1 + np.exp(-(x - 3) / 1.5))
    mapping = fit_mapping(x, mos)
    assert mapping.kind == "logistic" and mapping(x) == pytest.approx(mos, abs=1e-4)
    metrics = metrics_of(x, mos)
    assert metrics.plcc == pytest.approx(1) and metrics.rmse < 1e-4 and metrics.srcc == pytest.approx(1)


def test_figures_do_not_depend_on_the_predictions_scale():
    """The scale of a regressor's output is arbitrary, and the logistic has to take it out."""
    rng = np.random.default_rng(1)
    mos = rng.uniform(1, 5, 60)
    predicted = mos + rng.normal(0, 0.5, 60)
    one, other = metrics_of(predicted, mos), metrics_of(1000 * predicted - 7, mos)
    assert one.plcc == pytest.approx(other.plcc, abs=1e-6) and one.rmse == pytest.approx(other.rmse, abs=1e-5)
    assert one.plcc >= np.corrcoef(predicted, mos)[0, 1] - 1e-3, "the curve fits at least as well as a line"


def test_where_the_logistic_cannot_be_fitted_a_line_is_and_says_so(monkeypatch):
    assert fit_mapping(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])).kind == "linear"

    def never_converges(function, start, maxfev):
        return np.array(start), 5  # too many calls

    monkeypatch.setattr("learning.regression.evaluate.metrics.leastsq", never_converges)
    mos = np.arange(10.0)
    metrics = metrics_of(3 * mos + 1, mos)
    assert metrics.mapping == "linear" and metrics.rmse == pytest.approx(0, abs=1e-12)
    assert fit_mapping(3 * mos + 1, mos).parameters == pytest.approx((-1 / 3, 1 / 3))


@pytest.mark.parametrize("scale", [1e160, 1e200])
def test_a_curve_that_is_not_finite_has_not_converged(scale):
    """Its parameters would be NaN or infinite, and so would PLCC fit and RMSE fit."""
    mos = np.random.default_rng(4).normal(size=50)
    with np.errstate(over="ignore"):
        mapping = fit_mapping(scale * mos, mos)
        assert mapping.kind == "linear" and np.isfinite(mapping.parameters).all()
        assert np.isfinite(metrics_of(scale * mos, mos, mapping).rmse)


def test_opinions_of_0_and_1_give_no_warning_of_scipy():
    """Predictions that part them fit a step, whose parameters have no finite covariance."""
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (10, 100):
            for apart in (0, 2, 100):
                mos = (rng.random(n) > 0.5).astype(float)
                predicted = rng.normal(size=n) + apart * mos
                mapping = fit_mapping(predicted, mos)
                rmse = metrics_of(predicted, mos, mapping).rmse
                assert mapping.kind != "linear" and rmse < 0.5 and (apart < 100 or rmse < 1e-5)


def test_constant_predictions_are_worth_nothing():
    metrics = metrics_of(np.ones(10), np.arange(10.0))
    assert (metrics.srcc, metrics.plcc, metrics.plcc_raw, metrics.krcc) == (0, 0, 0, 0)
    assert metrics.rmse == pytest.approx(np.arange(10).std())


def test_a_mapping_tells_whether_it_keeps_the_order():
    rng = np.random.default_rng(2)
    mos = rng.uniform(1, 5, 40)
    assert fit_mapping(mos + rng.normal(0, 0.1, 40), mos).increases and not fit_mapping(-mos, mos).increases
    assert fit_mapping(mos[:3], mos[:3]).increases and not fit_mapping(-mos[:3], mos[:3]).increases


def test_raw_plcc_is_pearsons():
    rng = np.random.default_rng(3)
    mos = rng.uniform(1, 5, 60)
    predicted = np.exp(mos + rng.normal(0, 0.2, 60))
    metrics = metrics_of(predicted, mos)
    assert metrics.plcc_raw == pytest.approx(np.corrcoef(predicted, mos)[0, 1], abs=1e-12)
    assert metrics.plcc > metrics.plcc_raw + 0.03, "the logistic takes out the curvature"
