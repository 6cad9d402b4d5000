"""Intervals: numbers worked out independently, and coverage on simulated data."""

import numpy as np
import pytest
from scipy import stats

from learning.regression.evaluate.bootstrap import RESAMPLED, bootstrap_intervals, resampled_counts
from learning.regression.evaluate.held_out import HeldOut


def held_out(predicted, mos, groups=None):
    return HeldOut(mos, np.atleast_2d(predicted), groups=groups)


def test_a_group_is_drawn_as_a_unit_and_a_seed_gives_the_same_samples():
    groups = np.array(["a", "b", "a", "c", "b", "a"], dtype=object)
    data = held_out(np.arange(6.0), np.arange(6.0), groups)
    samples = np.concatenate(list(resampled_counts(data, 300, seed=1)))
    assert samples.shape == (300, 6), "in two blocks"
    for counts in samples:
        assert counts[0] == counts[2] == counts[5] and counts[1] == counts[4]
        assert counts[[0, 1, 3]].sum() == 3, "as many groups as there are"
    assert np.array_equal(samples, np.concatenate(list(resampled_counts(data, 300, seed=1))))
    assert not np.array_equal(samples, np.concatenate(list(resampled_counts(data, 300, seed=2))))


def test_intervals_are_percentiles_of_the_medians_over_splits():
    """SRCC computed again by scipy, from the same draws and by explicit lists of images."""
    rng = np.random.default_rng(0)
    mos = rng.normal(size=40)
    predictions = np.full((3, 40), np.nan)
    for row, start in zip(predictions, (0, 10, 20), strict=True):
        row[start : start + 20] = mos[start : start + 20] + rng.normal(size=20)
    data = HeldOut(mos, predictions)
    found = bootstrap_intervals(data, n_resamples=30, seed=5)
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
    for metric in RESAMPLED:
        interval = found[metric]
        assert interval.estimate == pytest.approx(np.median([getattr(one, metric) for one in data.metrics]))
        assert interval.low < interval.high


def test_an_interval_over_groups_is_wider_where_images_of_a_group_are_alike():
    rng = np.random.default_rng(1)
    quality, noise = np.repeat(rng.normal(size=(2, 30)), 5, axis=1)
    widths = []
    for groups in (None, np.repeat(np.arange(30), 5)):
        interval = bootstrap_intervals(held_out(quality + noise, quality, groups), n_resamples=200)["srcc"]
        widths.append(interval.high - interval.low)
    assert widths[1] > 1.6 * widths[0], "sqrt(5) = 2.2 times, about"


def test_an_interval_stays_in_the_range_of_its_metric():
    mos = np.arange(30.0)
    predicted = mos + np.tile([0, 1.5], 15)
    found = bootstrap_intervals(held_out(predicted, mos), n_resamples=200)
    assert found["srcc"].high <= 1
    perfect = bootstrap_intervals(held_out(mos, mos), n_resamples=50)["srcc"]
    assert perfect.low == pytest.approx(1) and perfect.high == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize(("group_size", "n_splits"), [(1, 3), (3, 1)])
def test_coverage(group_size, n_splits):
    """95 %, give or take: 30 intervals against the average of the 30 estimates, for normal and correlated images."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(120), group_size)
    found = []
    for seed in range(30):
        shared, own = np.repeat(rng.normal(size=(2, 120)), group_size, axis=1), rng.normal(size=(2, len(groups)))
        quality, noise = own if group_size == 1 else (shared + own) / np.sqrt(2)
        predictions = np.full((n_splits, len(groups)), np.nan)
        for row in predictions:
            drawn = rng.permutation(120)[: 120 // 5 if n_splits > 1 else 120]
            row[np.isin(groups, drawn)] = (quality + 0.75 * noise)[np.isin(groups, drawn)]
        data = HeldOut(3 + quality, predictions, groups=groups if group_size > 1 else None)
        found.append(bootstrap_intervals(data, n_resamples=150, seed=seed))
    for metric in RESAMPLED:
        truth = np.mean([of[metric].estimate for of in found])
        assert np.mean([of[metric].low <= truth <= of[metric].high for of in found]) >= 0.8, metric
