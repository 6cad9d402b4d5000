"""The observers' spread, by hand and by simulation."""

import numpy as np
import pytest
from scipy import stats

from learning.regression.evaluate.observers import (
    confidence_half_widths,
    observer_spread,
    outlier_ratio,
    rmse_epsilon,
    srcc_ceiling,
)


def test_the_ceiling_is_the_reliability_of_half_the_raters():
    """Opinions of variance 1 and means of 8 raters with std 2: the two halves correlate with 1 / (1 + 4 / 8)."""
    mos = np.random.default_rng(2).normal(size=4000)
    expected = 6 / np.pi * np.arcsin(1 / 1.5 / 2)  # Spearman's correlation of normal variables with Pearson's of 1/1.5
    assert srcc_ceiling(mos, np.full(4000, 2.0), np.full(4000, 16.0)) == pytest.approx(expected, abs=0.02)


def test_p1401_by_hand():
    std, n_raters = np.array([1.0, 2.0, 1.0]), np.array([25.0, 16.0, 9.0])
    widths = confidence_half_widths(std, n_raters)
    assert widths == pytest.approx([stats.t.ppf(0.975, n - 1) * s / n**0.5 for s, n in zip(std, n_raters, strict=True)])
    assert widths[0] == pytest.approx(2.064 / 5, abs=1e-3)
    predicted, mos = np.array([1.0, 2.0, 5.0]), np.array([1.1, 2.0, 3.0])
    assert outlier_ratio(predicted, mos, np.array([0.2, 0.2, 0.5])) == pytest.approx(1 / 3)
    assert rmse_epsilon(predicted, mos, np.array([0.2, 0.2, 0.5]), 1) == pytest.approx(np.sqrt(1.5**2 / 2))
    spread = observer_spread(predicted, mos, std, n_raters)
    assert spread.mean_raters == pytest.approx(50 / 3) and spread.mean_std == pytest.approx(4 / 3)
