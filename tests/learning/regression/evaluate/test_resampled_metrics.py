"""Metrics computed from counts are those of the repeated images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from learning.regression.evaluate.metrics import fit_line, fit_mapping
from learning.regression.evaluate.resampled_metrics import (
    krcc_of_resamples,
    metrics_of_resamples,
    plcc_of_resamples,
    ranks_in_resamples,
    srcc_of_resamples,
)
from learning.regression.evaluate.results import METRICS


@given(st.integers(2, 40), st.sampled_from([2, 5, 1000]), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_correlations_are_scipys_of_the_repeated_images(n_images, n_levels, seed):
    """Few levels give many ties; a sample with one image, and one with one value."""
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(n_levels, size=n_images) / 7 for _ in range(2))
    counts = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=5)
    counts[0] = 0
    counts[0, 0] = n_images
    srcc, krcc, plcc = (
        of(x, y, counts.astype(float)) for of in (srcc_of_resamples, krcc_of_resamples, plcc_of_resamples)
    )
    ranks = ranks_in_resamples(x, counts.astype(float))
    for sample, repeats in enumerate(counts):
        a, b = np.repeat(x, repeats), np.repeat(y, repeats)
        assert np.array_equal(np.repeat(ranks[sample], repeats), stats.rankdata(a))
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            assert srcc[sample] == krcc[sample] == plcc[sample] == 0
        else:
            assert srcc[sample] == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
            assert krcc[sample] == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
            assert plcc[sample] == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-9)


def test_pairs_are_counted_in_blocks():
    rng = np.random.default_rng(0)
    x = rng.normal(size=2500).round(2)
    y = (x + rng.normal(size=2500)).round(2)
    counts = rng.multinomial(2500, np.full(2500, 1 / 2500), size=2)
    expected = [stats.kendalltau(np.repeat(x, repeats), np.repeat(y, repeats)).statistic for repeats in counts]
    assert krcc_of_resamples(x, y, counts.astype(float)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_parameters", [4, 5])
def test_the_logistic_is_fitted_as_by_scipy_to_the_repeated_images(n_parameters):
    rng = np.random.default_rng(4)
    predicted = rng.uniform(-4, 4, 300)
    mos = 3 + 1.5 * np.tanh(predicted) + (n_parameters == 5) * 0.3 * predicted + rng.normal(0, 0.3, 300)
    counts = rng.multinomial(300, np.full(300, 1 / 300), size=20)
    found = metrics_of_resamples(predicted, mos, counts, fit_mapping(predicted, mos, n_parameters))
    for repeats, values in zip(counts, found, strict=True):
        x, y = np.repeat(predicted, repeats), np.repeat(mos, repeats)
        mapped = fit_mapping(x, y, n_parameters)(x)
        rmse = np.sqrt(np.mean((mapped - y) ** 2))
        assert values[METRICS.index("rmse")] == pytest.approx(rmse, rel=1e-4)
        assert values[METRICS.index("plcc")] == pytest.approx(np.corrcoef(mapped, y)[0, 1], abs=1e-4)


def test_repeating_an_image_is_the_same_as_counting_it():
    """The same method on the repeated images: equal to rounding, whatever the curve and also for a line."""
    rng = np.random.default_rng(5)
    predicted = rng.uniform(-4, 4, 60)
    mos = 3 + 1.5 * np.tanh(predicted) + 0.3 * predicted + rng.normal(0, 0.3, 60)
    repeats = rng.multinomial(60, np.full(60, 1 / 60))
    x, y = np.repeat(predicted, repeats), np.repeat(mos, repeats)
    for mapping in (fit_mapping(predicted, mos, 4), fit_mapping(predicted, mos, 5), fit_line(predicted, mos)):
        of_counts = metrics_of_resamples(predicted, mos, repeats[None], mapping)
        of_repeated = metrics_of_resamples(x, y, np.ones((1, 60), int), mapping)
        assert of_counts == pytest.approx(of_repeated, rel=1e-4), mapping.kind


def test_samples_that_are_too_small_are_marked():
    x = np.array([1.0, 2, 3])
    counts = np.array([[0, 0, 0], [0, 1, 0], [0, 2, 0], [1, 1, 0]])
    found = metrics_of_resamples(x, x, counts, fit_mapping(x, x))
    assert np.isnan(found[:2]).all() and np.isnan(srcc_of_resamples(x, x, counts)[:2]).all()
    assert found[2].tolist() == [0, 0, 0, 0, 0] and found[3] == pytest.approx([1, 1, 1, 1, 0])
