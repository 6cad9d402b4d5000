"""Curves that cannot be written end a run with a sentence, whichever thread meets the full disk first."""

import multiprocessing
import resource
import sys
from contextlib import closing

import pytest
import torch

from learning.contrastive import training_log
from learning.contrastive.training_log import Progress, Step
from learning.contrastive.training_state import Position
from learning.distributed.environment import ProcessContext
from networks.errors import UserError
from options.contrast import parse_contrast_options


def fill_the_disk(folder, picture):
    """Logs 1000 steps, on a disk on which no file grows beyond 20 kB; for a process of its own."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        options = parse_contrast_options(["--print_freq", "1", "--epochs", "1"])
        with closing(Progress(options, ProcessContext(), folder, 100_000, Position())) as progress:
            if picture:
                progress.picture(torch.randint(256, (12, 6, 96, 96), dtype=torch.uint8))
            for step, _ in enumerate(progress.batches([torch.zeros(1, 1)] * 1000), start=1):
                progress.add(Step(Position(0, step, step), 0.1, torch.tensor(1.0), torch.tensor(50.0)))
    except UserError as error:
        sys.exit(error.sentence)


@pytest.mark.parametrize("picture", [True, False], ids=["picture", "curves"])
def test_a_full_disk_is_told_once_in_a_sentence(tmp_path, picture, capfd):
    process = multiprocessing.get_context("fork").Process(target=fill_the_disk, args=(tmp_path, picture))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == 1
    assert capfd.readouterr().err == f"--tb_path: {tmp_path} cannot be written: File too large\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_time_left_is_that_of_the_run(tmp_path, monkeypatch, capfd, terminal):
    """A second a step: after step 3 of epoch 2, 97 + 200 steps are left of 4 epochs of 100."""
    monkeypatch.setattr(training_log, "on_terminal", lambda: terminal)
    options = parse_contrast_options(["--print_freq", "3", "--epochs", "4"])
    with closing(Progress(options, ProcessContext(), tmp_path, 100, Position(1, 0, 100))) as progress:
        batches = progress.batches([torch.zeros(1, 1)] * 4)
        next(batches)
        for step in (1, 2, 3):
            monkeypatch.setattr(training_log.time, "perf_counter", lambda step=step: progress._started + step)
            progress.add(Step(Position(1, step, 100 + step), 0.1, torch.tensor(1.0), torch.tensor(50.0)))
    printed = capfd.readouterr()
    shown = printed.err if terminal else printed.out
    assert "left 04:57" in shown and "<" not in shown
