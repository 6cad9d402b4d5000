"""Metrics computed from counts are those of the repeated images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from learning.regression.evaluate.bootstrap import (
    RESAMPLED,
    metrics_of_resamples,
    plcc_of_resamples,
    ranks_in_resamples,
    srcc_of_resamples,
)
from learning.regression.evaluate.metrics import fit_mapping


@given(st.integers(2, 40), st.sampled_from([2, 5, 1000]), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_correlations_are_scipys_of_the_repeated_images(n_images, n_levels, seed):
    """Few levels give many ties; a sample with one image, and one with one value."""
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(n_levels, size=n_images) / 7 for _ in range(2))
    counts = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=5)
    counts[0] = 0
    counts[0, 0] = n_images
    srcc, plcc = (of(x, y, counts.astype(float)) for of in (srcc_of_resamples, plcc_of_resamples))
    ranks = ranks_in_resamples(x, counts.astype(float))
    for sample, repeats in enumerate(counts):
        a, b = np.repeat(x, repeats), np.repeat(y, repeats)
        assert np.array_equal(np.repeat(ranks[sample], repeats), stats.rankdata(a))
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            assert srcc[sample] == plcc[sample] == 0
        else:
            assert srcc[sample] == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
            assert plcc[sample] == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-9)


def test_the_curve_is_kept_over_the_repeated_images():
    rng = np.random.default_rng(4)
    predicted = rng.uniform(-4, 4, 60)
    mos = 3 + 1.5 * np.tanh(predicted) + rng.normal(0, 0.3, 60)
    mapped = fit_mapping(predicted, mos)(predicted)
    counts = rng.multinomial(60, np.full(60, 1 / 60), size=5)
    for repeats, values in zip(counts, metrics_of_resamples(predicted, mapped, mos, counts), strict=True):
        x, z, y = (np.repeat(of_images, repeats) for of_images in (predicted, mapped, mos))
        expected = {
            "srcc": stats.spearmanr(x, y).statistic,
            "plcc_raw": stats.pearsonr(x, y).statistic,
            "plcc": stats.pearsonr(z, y).statistic,
        }
        assert values == pytest.approx([expected[metric] for metric in RESAMPLED], abs=1e-12)


def test_samples_that_are_too_small_are_marked():
    x = np.array([1.0, 2, 3])
    counts = np.array([[0, 0, 0], [0, 1, 0], [0, 2, 0], [1, 1, 0]])
    found = metrics_of_resamples(x, x, x, counts)
    assert np.isnan(found[:2]).all() and np.isnan(srcc_of_resamples(x, x, counts)[:2]).all()
    assert found[2].tolist() == [0, 0, 0] and found[3] == pytest.approx([1, 1, 1])
