"""A short form of `make fuzz`, and that it would tell."""

import os
import time

import pytest

from common.errors import UserError
from tests import fuzz


@pytest.mark.parametrize(
    ("target", "n_files"),
    [("images", 500), ("containers", 300), ("checkpoints", 40), ("regressors", 40), ("tables", 200)],
)
def test_mutated_files_are_read_or_refused(target, n_files, tmp_path):
    outcomes = fuzz.fuzz(target, n_files, 300, tmp_path / "kept")
    assert set(outcomes) <= {"read", "refused"}, outcomes
    assert outcomes["refused"] and sum(outcomes.values()) == n_files and not (tmp_path / "kept").exists()


def test_every_kind_of_failure_is_told(monkeypatch, tmp_path):
    """A fuzzer that cannot fail proves nothing."""

    def misbehave(path):
        number = path.stat().st_size % 5
        if number == 0:
            raise UserError("refused")
        if number == 1:
            raise ZeroDivisionError("ours")
        if number == 2:
            os.abort()
        if number == 3:
            time.sleep(60)

    monkeypatch.setattr(fuzz, "HANG_SECONDS", 1)
    monkeypatch.setitem(fuzz.TARGETS, "images", (lambda: [("bin", b"0" * 200)], misbehave, 1))
    outcomes = fuzz.fuzz("images", 30, 60, tmp_path / "kept")
    told = {"read", "refused", "ZeroDivisionError: ours", "a crash, status -6", "a hang of 1 s"}
    assert set(outcomes) == told and sum(outcomes.values()) == 30
    assert len(list((tmp_path / "kept").iterdir())) == 30 - outcomes["read"] - outcomes["refused"]
