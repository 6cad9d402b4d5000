"""The learning rate against numbers worked out by hand from the formulas."""

import math
from itertools import chain, pairwise

import pytest

from learning.contrastive.trainer import decayed_rate, learning_rate_at
from options.contrast import parse_contrast_options


def options(*more, learning_rate=12.0, epochs=40):
    return parse_contrast_options(["--learning_rate", str(learning_rate), "--epochs", str(epochs), *more])


def test_cosine():
    # lowest = 12 * 0.1^3 = 0.012
    cosine = options("--cosine")
    assert decayed_rate(cosine, 20) == pytest.approx(0.012 + 11.988 / 2, rel=1e-15)
    assert decayed_rate(cosine, 40) == pytest.approx(0.012, rel=1e-12)
    assert decayed_rate(cosine, 10) == pytest.approx(0.012 + 11.988 * (1 + math.sqrt(0.5)) / 2, rel=1e-15)
    assert learning_rate_at(cosine, 7, 99, 100) == learning_rate_at(cosine, 7, 0, 100) == decayed_rate(cosine, 7)


def test_cosine_by_step():
    # Of 3 epochs of 4 steps, step s (from 0) of epoch e is ((e-1)*4 + s + 1)/12 of the way: (1 + cos)/2 of it.
    by_step = options("--cosine", "--schedule", "step", learning_rate=2, epochs=3)  # lowest = 2 * 0.1^3 = 0.002
    rates = [[learning_rate_at(by_step, epoch, step, 4) for step in range(4)] for epoch in (1, 2, 3)]
    assert rates[0][3] == pytest.approx(0.002 + 1.998 * (1 + 0.5) / 2, rel=1e-15)  # a third: cos 60 degrees
    assert rates[1][1] == pytest.approx(0.002 + 1.998 / 2, rel=1e-15)  # the middle
    assert rates[2][3] == pytest.approx(0.002, rel=1e-12)  # the very last step
    by_epoch = options("--cosine", learning_rate=2, epochs=3)
    assert [rates[epoch - 1][3] for epoch in (1, 2, 3)] == [learning_rate_at(by_epoch, e, 0, 4) for e in (1, 2, 3)]
    assert all(later < earlier for earlier, later in pairwise(chain(*rates)))


def test_cosine_by_step_after_a_warm_up():
    by_epoch, by_step = options("--cosine", "--warm"), options("--cosine", "--warm", "--schedule", "step")
    for step in range(9):
        assert learning_rate_at(by_step, 5, step, 9) == learning_rate_at(by_epoch, 5, step, 9)
    first, last = (learning_rate_at(by_step, 6, step, 9) for step in (0, 8))
    assert last == decayed_rate(by_step, 6) < first < decayed_rate(by_step, 5)


def test_steps():
    decaying = options(learning_rate=0.03, epochs=200)
    expected = {1: 0.03, 120: 0.03, 121: 0.003, 160: 0.003, 161: 0.0003, 200: 0.0003}
    for epoch, rate in expected.items():
        assert [learning_rate_at(decaying, epoch, step, 5) for step in range(5)] == pytest.approx([rate] * 5, rel=1e-15)


def test_warm_up_rises_linearly_to_the_schedule():
    warm = options("--cosine", "--warm")
    target = 0.012 + 11.988 * (1 + math.cos(math.pi / 8)) / 2  # epoch 5 of 40
    assert learning_rate_at(warm, 1, 0, 1175) == 0.01
    expected = 0.01 + (235 + 2 * 1175) / (5 * 1175) * (target - 0.01)
    assert learning_rate_at(warm, 3, 235, 1175) == pytest.approx(expected, rel=1e-15)
    last, after = learning_rate_at(warm, 5, 1174, 1175), learning_rate_at(warm, 6, 0, 1175)
    assert last < target and after == decayed_rate(warm, 6)
    steps = [learning_rate_at(warm, epoch, step, 10) for epoch in range(1, 6) for step in range(10)]
    gaps = [b - a for a, b in pairwise(steps)]
    assert max(gaps) == pytest.approx(min(gaps), rel=1e-9)


@pytest.mark.parametrize("epochs, warm_up_epochs", [(500, 5), (501, 10)])
def test_long_runs_warm_up_over_ten_epochs(epochs, warm_up_epochs):
    warm = options("--cosine", "--warm", epochs=epochs)
    assert learning_rate_at(warm, warm_up_epochs, 0, 10) < decayed_rate(warm, warm_up_epochs)
    assert learning_rate_at(warm, warm_up_epochs + 1, 0, 10) == decayed_rate(warm, warm_up_epochs + 1)
