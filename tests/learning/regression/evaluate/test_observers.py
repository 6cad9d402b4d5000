"""The observers' spread, by hand and by simulation."""

import numpy as np
import pytest
from scipy import stats

from learning.regression.evaluate.held_out import HeldOut, observer_spread, srcc_ceiling
from learning.regression.evaluate.metrics import fit_mapping


def test_the_ceiling_is_the_reliability_of_half_the_raters():
    """Opinions of variance 1 and means of 8 raters with std 2: the two halves correlate with 1 / (1 + 4 / 8)."""
    mos = np.random.default_rng(2).normal(size=4000)
    expected = 6 / np.pi * np.arcsin(1 / 1.5 / 2)  # Spearman's correlation of normal variables with Pearson's of 1/1.5
    assert srcc_ceiling(mos, np.full(4000, 2.0), np.full(4000, 16.0)) == pytest.approx(expected, abs=0.02)


def test_p1401_by_hand():
    """Images on a line with four exceptions; the fifth image is not tested, and the mapping is a line."""
    std, n_raters = np.array([1.0, 2.0, 1.0, 9.0, 1.0]), np.array([25.0, 16.0, 9.0, 2.0, 4.0])
    mos = np.array([1.0, 2.0, 6.0, 3.0, 100.0])
    predicted = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    line = np.polynomial.Polynomial.fit(predicted[:4], mos[:4], 1)
    excess = []
    for x, y, s, n in list(zip(predicted, mos, std, n_raters, strict=True))[:4]:
        excess.append(max(0, abs(line(x) - y) - stats.t.ppf(0.975, n - 1) * s / n**0.5))
    assert stats.t.ppf(0.975, 24) * 1 / 5 == pytest.approx(2.064 / 5, abs=1e-3) and 0 < np.count_nonzero(excess) < 4
    found = observer_spread(HeldOut(mos, predicted[None]), std, n_raters)
    assert found.outlier_ratio == np.count_nonzero(excess) / 4
    assert found.rmse_epsilon == pytest.approx(np.sqrt(np.sum(np.square(excess))))
    assert found.mean_raters == 13 and found.mean_std == pytest.approx(13 / 4)
    many = np.tile(mos[:4], 5) + np.arange(20)
    with_rows = observer_spread(HeldOut(many, np.sqrt(many)[None]), np.full(20, 1e-9), np.full(20, 9.0))
    logistic = fit_mapping(np.sqrt(many), many)
    errors = logistic(np.sqrt(many)) - many
    assert with_rows.rmse_epsilon == pytest.approx(np.sqrt(np.sum(errors**2) / 16)), "four parameters are subtracted"
