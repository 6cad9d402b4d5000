"""Prediction intervals cover new images as often as promised."""

import numpy as np
import pytest

from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.protocol import conformal_half_width, prediction_intervals


def test_a_half_width_by_hand():
    errors = np.array([3.0, 1, 4, 2, 5, 9, 7, 8, 6])
    assert conformal_half_width(errors, 0.9) == 9, "ceil(10 * 0.9) = 9th smallest"
    assert conformal_half_width(errors, 0.5) == 5
    assert conformal_half_width(errors, 0.95) is None, "9 errors cannot say"


def test_new_images_are_covered_as_often_as_promised():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        mos = rng.standard_exponential(60)
        found = prediction_intervals(HeldOut(mos, (mos + rng.standard_t(3, 60))[None]))
        covered.append(np.abs(rng.standard_t(3, 200)) <= found.half_widths[found.levels.index(0.9)])
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01), "55 / 61 = 0.902 is expected"


def test_coverage_over_splits_leaves_out_the_own_test_part():
    rng = np.random.default_rng(1)
    mos = rng.normal(size=500)
    predictions = np.full((5, 500), np.nan)
    for k in range(5):
        predictions[k, k::5] = mos[k::5] + rng.normal(size=100)
    found = prediction_intervals(HeldOut(mos, predictions))
    assert found.coverage == pytest.approx(0.9, abs=0.04)
    assert found.half_widths[found.levels.index(0.9)] == pytest.approx(1.645, abs=0.2)
    assert list(found.half_widths) == sorted(found.half_widths)
