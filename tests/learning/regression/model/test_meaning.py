"""What a score means: grade and percentile from the opinions of the fit, and the order of two photographs."""

import numpy as np
import pytest

from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.protocol import FEWEST_PAIRS, pair_orders
from learning.regression.model.meaning import Opinions, PairOrder, ScoreInterval, order_in_words, score_columns


@pytest.mark.parametrize(
    ("score", "grade"),
    [(-3, "Bad"), (1, "Bad"), (1.79, "Bad"), (1.81, "Poor"), (3, "Fair"), (3.5, "Good"), (4.3, "Excellent"),
     (5, "Excellent"), (9, "Excellent")],
)  # fmt: skip
def test_a_grade_is_a_fifth_of_the_scale(score, grade):
    assert Opinions.of(np.array([2.0, 4.0]), (1.0, 5.0)).grade(score) == grade


def test_a_percentile_is_the_share_of_lower_opinions():
    mos = np.random.default_rng(0).beta(3, 2, 2000) * 100
    opinions = Opinions.of(mos)
    assert opinions.scale == (mos.min(), mos.max()) and len(opinions.quantiles) == 101
    for score in (-5, 20, 45.5, 70, 99, 120):
        assert opinions.percentile(score) == pytest.approx(100 * np.mean(mos < score), abs=0.6)
    assert "0 to 100" in Opinions.of(mos, (0.0, 100.0)).in_words()


def test_equal_opinions_have_a_grade():
    opinions = Opinions.of(np.full(9, 3.0))
    assert opinions.grade(2.9) == "Bad" and 0 <= opinions.percentile(3.0) <= 100


def test_the_columns_are_what_is_known():
    interval, opinions = ScoreInterval(0.9, 8.0, None, (0.0, 100.0)), Opinions((0.0, 100.0), (0.0, 100.0))
    assert [column.name for column in score_columns(None, None)] == ["score"]
    found = {column.name: column.of(95.0) for column in score_columns(opinions, interval)}
    assert found == {"score": 95, "low_0.9": 87, "high_0.9": 100, "grade": "Excellent", "percentile": 95}


def test_the_order_of_pairs_is_counted_within_splits():
    """Against all pairs of two splits, one by one; opinions are rounded, so some are equal."""
    rng = np.random.default_rng(1)
    mos = rng.uniform(1, 5, 90).round(1)
    predictions = np.stack([mos + rng.normal(size=90), mos + rng.normal(size=90)])
    predictions[0, 50:] = predictions[1, :40] = np.nan
    found = pair_orders(HeldOut(mos, predictions), (1.0, 5.0))
    expected = []
    for difference in (0.2, 0.4, 0.8, 1.2):
        counts = [0, 0]
        for split in predictions:
            for one, other in np.ndindex(90, 90):
                if abs(split[other] - split[one] - difference) <= 0.1 and mos[one] != mos[other]:
                    counts[int(mos[other] > mos[one])] += 1
        if sum(counts) >= FEWEST_PAIRS:
            expected.append((difference, counts[1] / sum(counts), sum(counts)))
    assert len(expected) > 2
    np.testing.assert_allclose([(order.difference, order.right, order.n_pairs) for order in found], expected)
    assert not pair_orders(HeldOut(mos[:5], predictions[:1, :5]), (1.0, 5.0)), "too few pairs say nothing"


def test_a_sentence_on_the_order():
    sentence = order_in_words([PairOrder(0.2, 0.6149, 100), PairOrder(0.4, 0.72, 100)])
    assert "differ by 0.2, 0.4," in sentence and "in 61, 72 % of the held-out pairs" in sentence
    assert order_in_words([]) == ""
