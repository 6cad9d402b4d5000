"""Curves that cannot be written end a run with a sentence, whichever thread meets the full disk first."""

import json
import multiprocessing
import resource
import sys
from contextlib import closing

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from learning.contrastive import training_log
from learning.contrastive.training_log import Progress, Step, write_options
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


def test_a_run_tells_its_options(tmp_path):
    """In its folder and in TensorBoard: as text, and as hyper-parameters beside the last metrics."""
    options = parse_contrast_options(["--method", "MoCov2", "--lr_decay_epochs", "3,4", "--csv_path", "a\udcff.csv"])
    write_options(tmp_path, options.in_use | {"images": 7})
    recorded = json.loads((tmp_path / "options.json").read_text())
    assert (recorded["head"], recorded["nce_t"], recorded["images"]) == ("mlp", 0.2, 7)
    assert recorded["lr_decay_epochs"] == [3, 4] and recorded["csv_path"] == "a\udcff.csv"

    with closing(Progress(options, ProcessContext(), tmp_path, 100, Position())) as progress:
        for step, _ in enumerate(progress.batches([torch.zeros(4, 1)] * 10), start=1):
            progress.add(Step(Position(0, step, step), 0.1, torch.tensor(1.0), torch.tensor(50.0)))
    log = EventAccumulator(str(tmp_path))
    log.Reload()
    (rate,) = log.Scalars("images_per_second")
    assert rate.step == 9 and rate.value > 0
    text = log.Tensors("options/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"head": "mlp"' in text and all(line.startswith("    ") for line in text.splitlines())
    start = HParamsPluginData.FromString(log.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    given = start.session_start_info.hparams
    assert given["head"].string_value == "mlp" and given["learning_rate"].number_value == 0.05
