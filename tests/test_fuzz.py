"""A short form of `make fuzz`, and that it would tell."""

import contextlib
import gzip
import os
import time
import zlib

import numpy as np
import pytest

from networks.errors import UserError
from tests import fuzz


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "n_files"),
    [("images", 500), ("containers", 300), ("metadata", 300), ("checkpoints", 40), ("regressors", 40), ("tables", 200)],
)
def test_mutated_files_are_read_or_refused(target, n_files, tmp_path):
    outcomes = fuzz.fuzz(target, n_files, 300, tmp_path / "kept")
    assert set(outcomes) <= {"read", "refused"}, outcomes
    assert outcomes["refused"] or target == "metadata"
    assert outcomes["read"] or target == "regressors", "a checksum stops nearly all of these"
    assert sum(outcomes.values()) == n_files and not (tmp_path / "kept").exists()


def test_metadata_is_mutated_and_pixels_are_not():
    """Each seed changes in its metadata alone, and other pixels would be told."""
    rng = np.random.default_rng(0)
    for ending, content in fuzz.metadata_seeds():
        changed = [fuzz.mutate_metadata(content, rng) for _ in range(20)]
        assert sum(one != content for one in changed) >= 15, ending
    assert not any(np.array_equal(whole, 255 - fuzz._metadata_pixels()[0]) for whole in fuzz._metadata_pixels())


def test_compressed_tables_are_mutated_within():
    rng = np.random.default_rng(0)
    for ending, content in fuzz.table_seeds():
        if ending == "csv.gz":
            texts = set()
            for _ in range(40):
                with contextlib.suppress(OSError, EOFError, zlib.error):
                    texts.add(gzip.decompress(fuzz.mutate_table(content, rng)))
            assert len(texts) > 10


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
    monkeypatch.setitem(fuzz.TARGETS, "images", fuzz.Target(lambda: [("bin", b"0" * 200)], misbehave, 1))
    outcomes = fuzz.fuzz("images", 30, 60, tmp_path / "kept")
    told = {"read", "refused", "ZeroDivisionError: ours", "a crash, status -6", "a hang of 1 s"}
    assert set(outcomes) == told and sum(outcomes.values()) == 30
    assert len(list((tmp_path / "kept").iterdir())) == 30 - outcomes["read"] - outcomes["refused"]
