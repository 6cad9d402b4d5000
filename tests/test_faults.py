"""The fault test in its short form; ``make test-faults`` is the long one."""

import re

import pytest

from tests.faults import run_faults

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("narrow_networks")]


def test_killed_three_times_and_resumed_it_is_the_same_run(tmp_path):
    table = run_faults(kills=3, epochs=2, images=16, seed=1, folder=tmp_path)
    assert sum(int(row.split("|")[3]) for row in table.splitlines() if re.match(r"\| (all|one) ", row)) == 3
