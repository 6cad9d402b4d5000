"""The learning rate against numbers worked out by hand from the formulas."""

import math
from itertools import pairwise

import pytest

from learning.contrastive.schedule import Schedule


def schedule(learning_rate=12.0, epochs=40, cosine=True, decay_rate=0.1, decay_epochs=(120, 160), warm=False):
    return Schedule(learning_rate, epochs, cosine, decay_rate, decay_epochs, warm)


def test_cosine():
    # lowest = 12 * 0.1^3 = 0.012
    rates = schedule()
    assert rates.at_epoch(20) == pytest.approx(0.012 + 11.988 / 2, rel=1e-15)
    assert rates.at_epoch(40) == pytest.approx(0.012, rel=1e-12)
    assert rates.at_epoch(10) == pytest.approx(0.012 + 11.988 * (1 + math.sqrt(0.5)) / 2, rel=1e-15)
    assert rates.at_step(7, 99, 100) == rates.at_epoch(7)


def test_cosine_by_step():
    # Of 3 epochs of 4 steps, step s (from 0) of epoch e is ((e-1)*4 + s + 1)/12 of the way: (1 + cos)/2 of it.
    rates = Schedule(2.0, 3, True, 0.1, (120, 160), False, by_step=True)  # lowest = 2 * 0.1^3 = 0.002
    assert rates.at_step(1, 3, 4) == pytest.approx(0.002 + 1.998 * (1 + 0.5) / 2, rel=1e-15)  # a third: cos 60 degrees
    assert rates.at_step(2, 1, 4) == pytest.approx(0.002 + 1.998 / 2, rel=1e-15)  # the middle
    assert rates.at_step(3, 3, 4) == pytest.approx(0.002, rel=1e-12)  # the very last step
    assert [rates.at_step(epoch, 3, 4) for epoch in (1, 2, 3)] == [rates.at_epoch(epoch) for epoch in (1, 2, 3)]
    steps = [rates.at_step(epoch, step, 4) for epoch in (1, 2, 3) for step in range(4)]
    assert all(later < earlier for earlier, later in pairwise(steps))


def test_cosine_by_step_after_a_warm_up():
    by_step = Schedule(12.0, 40, True, 0.1, (120, 160), True, by_step=True)
    assert [by_step.at_step(5, step, 9) for step in range(9)] == [
        schedule(warm=True).at_step(5, s, 9) for s in range(9)
    ]
    assert by_step.at_step(6, 8, 9) == by_step.at_epoch(6) < by_step.at_step(6, 0, 9) < by_step.at_epoch(5)


def test_steps():
    rates = schedule(learning_rate=0.03, epochs=200, cosine=False)
    assert [rates.at_epoch(epoch) for epoch in (1, 120, 121, 160, 161, 200)] == pytest.approx(
        [0.03, 0.03, 0.003, 0.003, 0.0003, 0.0003], rel=1e-15
    )


def test_warm_up_rises_linearly_to_the_schedule():
    rates = schedule(warm=True)
    target = 0.012 + 11.988 * (1 + math.cos(math.pi / 8)) / 2  # epoch 5 of 40
    assert rates.at_step(1, 0, 1175) == 0.01
    assert rates.at_step(3, 235, 1175) == pytest.approx(
        0.01 + (235 + 2 * 1175) / (5 * 1175) * (target - 0.01), rel=1e-15
    )
    last, after = rates.at_step(5, 1174, 1175), rates.at_step(6, 0, 1175)
    assert last < target and after == rates.at_epoch(6)
    steps = [rates.at_step(epoch, step, 10) for epoch in range(1, 6) for step in range(10)]
    gaps = [b - a for a, b in pairwise(steps)]
    assert max(gaps) == pytest.approx(min(gaps), rel=1e-9)


def test_long_runs_warm_up_over_ten_epochs():
    assert schedule(epochs=500, warm=True).warm_up_epochs == 5
    assert schedule(epochs=501, warm=True).warm_up_epochs == 10
    assert schedule(epochs=501).warm_up_epochs == 0
