"""Intervals and tests: numbers worked out independently, and rates on simulated data."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.interval_coverage import Setting, coverage
from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.metrics import evaluate
from learning.regression.evaluate.results import METRICS, Interval
from learning.regression.evaluate.significance import (
    bootstrap_intervals,
    holm,
    interval_of_scale,
    pitman_morgan,
    resampled_counts,
    srcc_difference,
)


def held_out(predicted, mos, groups=None):
    return HeldOut([f"{i}.png" for i in range(len(mos))], mos, groups, np.atleast_2d(predicted))


def test_a_group_is_drawn_as_a_unit_and_a_seed_gives_the_same_samples():
    groups = np.array(["a", "b", "a", "c", "b", "a"], dtype=object)
    samples = np.concatenate(list(resampled_counts(6, groups, 300, seed=1)))
    assert samples.shape == (300, 6), "in two blocks"
    for counts in samples:
        assert counts[0] == counts[2] == counts[5] and counts[1] == counts[4]
        assert counts[[0, 1, 3]].sum() == 3, "as many groups as there are"
    assert np.array_equal(samples, np.concatenate(list(resampled_counts(6, groups, 300, seed=1))))
    assert not np.array_equal(samples, np.concatenate(list(resampled_counts(6, groups, 300, seed=2))))


def test_intervals_are_percentiles_of_the_medians_over_splits():
    """SRCC computed again by scipy, from the same draws and by explicit lists of images."""
    rng = np.random.default_rng(0)
    mos = rng.normal(size=40)
    predictions = np.full((3, 40), np.nan)
    for row, start in zip(predictions, (0, 10, 20), strict=True):
        row[start : start + 20] = mos[start : start + 20] + rng.normal(size=20)
    found = bootstrap_intervals(HeldOut([""] * 40, mos, None, predictions), n_resamples=30, seed=5)
    expected, draws = [], np.random.default_rng(5)
    for _ in range(30):
        drawn = draws.integers(40, size=40)
        parts = [[image for image in drawn if start <= image < start + 20] for start in (0, 10, 20)]
        values = [stats.spearmanr(predictions[k, part], mos[part]).statistic for k, part in enumerate(parts)]
        expected.append(np.median(values))
    bias = np.mean(expected) - found["srcc"].estimate
    tail = 100 * stats.norm.sf(stats.t.ppf(0.975, 39) * np.sqrt(40 / 39))
    assert 2 < tail < 2.1, "40 images: less than 2.5 %"
    ends = tuple(np.percentile(expected, (tail, 100 - tail)) - bias)
    assert (found["srcc"].low, found["srcc"].high) == pytest.approx(ends)
    of_splits = [evaluate(row[~np.isnan(row)], mos[~np.isnan(row)]) for row in predictions]
    for metric in METRICS:
        interval = found[metric]
        assert interval.estimate == pytest.approx(np.median([getattr(one, metric) for one in of_splits]))
        assert interval.low < interval.high


def test_an_interval_over_groups_is_wider_where_images_of_a_group_are_alike():
    rng = np.random.default_rng(1)
    quality, noise = np.repeat(rng.normal(size=(2, 30)), 5, axis=1)
    widths = []
    for groups in (None, np.repeat(np.arange(30), 5)):
        interval = bootstrap_intervals(held_out(quality + noise, quality, groups), n_resamples=200)["srcc"]
        widths.append(interval.high - interval.low)
    assert widths[1] > 1.6 * widths[0], "sqrt(5) = 2.2 times, about"


def test_equal_models_are_rarely_told_apart_and_different_ones_are():
    rng = np.random.default_rng(2)
    rejected = 0
    for seed in range(60):
        mos = rng.normal(size=80)
        first, second = (held_out(mos + rng.normal(size=80), mos) for _ in range(2))
        rejected += srcc_difference(first, second, 100, seed).p_value < 0.05
    assert rejected <= 8, "60 tests at 5 %: 3 on average, more than 8 in one of 200 runs"
    mos = rng.normal(size=80)
    better, worse = held_out(mos + 0.3 * rng.normal(size=80), mos), held_out(mos + 2 * rng.normal(size=80), mos)
    found = srcc_difference(better, worse, 200)
    assert found.p_value < 0.02 and 0 < found.interval.low < found.interval.estimate < found.interval.high
    same = srcc_difference(better, better, 100)
    assert same.p_value == 1 and same.interval.estimate == same.interval.low == same.interval.high == 0


def test_pitman_morgan_by_the_formula_and_by_its_rate():
    """t = (F - 1) sqrt(n - 2) / (2 sqrt(F (1 - r^2))), F the ratio of variances, r the residuals' correlation."""
    rng = np.random.default_rng(3)
    common = rng.normal(size=50)
    first, second = common + 0.5 * rng.normal(size=50), common + 0.8 * rng.normal(size=50)
    ratio, r = first.var() / second.var(), np.corrcoef(first, second)[0, 1]
    t = (ratio - 1) * np.sqrt(48) / (2 * np.sqrt(ratio * (1 - r**2)))
    assert pitman_morgan(first, second) == pytest.approx(2 * stats.t.sf(abs(t), 48))
    rejected = 0
    for _ in range(1000):
        common = rng.normal(size=40)
        rejected += pitman_morgan(common + rng.normal(size=40), common + rng.normal(size=40)) < 0.05
    assert 30 <= rejected <= 72, "5 % of 1000, give or take three standard deviations"
    assert pitman_morgan(first, first) == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.02]) == [0.02]


def test_an_interval_stays_in_the_range_of_its_metric():
    mos = np.arange(30.0)
    predicted = mos + np.tile([0, 1.5], 15)
    found = bootstrap_intervals(held_out(predicted, mos), n_resamples=200)
    assert found["srcc"].high <= 1 and found["rmse"].low >= 0
    perfect = bootstrap_intervals(held_out(mos, mos), n_resamples=50)["srcc"]
    assert perfect.low == pytest.approx(1) and perfect.high == pytest.approx(1)


def test_the_interval_of_a_scale_is_that_of_normal_errors():
    """RMSE 2 of n normal errors: n RMSE^2 / sigma^2 is chi-squared with n degrees of freedom, which bounds sigma."""
    n, degrees = 100_000, 400
    resampled = 2 * np.sqrt(stats.chi2.rvs(degrees, size=n, random_state=0) / degrees)
    found = interval_of_scale(2.0, resampled, n_groups=10**6)
    expected = 2 * np.sqrt(degrees / stats.chi2.ppf([0.975, 0.025], degrees))
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=0.003)
    assert found.high - 2 > 2 - found.low
    assert interval_of_scale(0.0, np.zeros(5), 5) == Interval(0, 0, 0)


@pytest.mark.parametrize(("group_size", "n_splits"), [(1, 3), (3, 1)])
def test_coverage(group_size, n_splits):
    """95 %, give or take; benchmarks.interval_coverage has the exact numbers."""
    found = coverage(Setting(120, group_size, n_splits), n_simulations=30, n_resamples=150, n_population=3000)
    assert min(found.of_protocol.values()) >= 0.8
