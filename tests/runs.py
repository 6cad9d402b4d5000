"""Small trainings for the tests, in real processes, and what they leave behind."""

import logging
import os
import shlex
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from common.process import note_signals
from learning.contrastive import trainer
from options.contrast import parse_contrast_options
from tests.fork_server import ForkedRun

SMALL = shlex.split(
    """--method MoCov2 --cosine --head mlp --arch resnet18 --feat_dim 16 --nce_k 48 --n_aug 2 --n_scale 2
    --patch_size 32 --n_distortions 1 --batch_size 4 --learning_rate 0.05 --swap_crops 1 --print_freq 1 -j 2"""
)

ROOT = Path(__file__).parents[1]
PYTHON = (sys.executable,)

# TensorBoard reads a run's files in the order of their names, which end in this counter. Two trainings of one process
# can begin in the same second, and of their counters 10 comes before 9.
event_file_writer._global_uid = event_file_writer.AtomicCounter(1_000_000)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*arguments, script="tests/narrow_contrast.py", launcher=None, environment=None, cwd=ROOT, **options):
    """Starts a script by ``launcher``, or else by the fastest way; returns a Popen, or what is like one."""
    # On the CPU, where results are exact; with one thread each, since several processes share a few cores.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | (environment or {})
    command = [str(ROOT / script), *map(str, arguments)]
    if launcher is None and sys.platform == "linux":
        return ForkedRun(command, environment, cwd, **options)
    return subprocess.Popen(
        [*(launcher or PYTHON), *command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(script, *arguments, **options):
    """Runs a script to its end, without a traceback; returns what ``subprocess.run`` does."""
    process = start(*arguments, script=script, **options)
    output, errors = process.communicate(timeout=300)
    # torchrun reports any status but 0 with a traceback of its own.
    assert "Traceback" not in errors or "launcher" in options, errors
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def run_two(script, *arguments):
    """Runs a script in two processes, as torchrun does; returns the output and the exit status of each."""
    job = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = ({"RANK": rank, "LOCAL_RANK": rank} for rank in "01")
    processes = [start(*arguments, script=script, environment=job | rank) for rank in ranks]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    return outputs, [process.returncode for process in processes]


def train(csv_path, folder, *more, **options):
    process = start(*SMALL, "--csv_path", csv_path, "--model_path", folder, "--tb_path", folder, *more, **options)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


@contextmanager
def as_a_script():
    """For trainings in the tests' own process: on the CPU, and without noting signals afterwards."""
    try:
        with mock.patch.object(torch.cuda, "is_available", lambda: False):
            yield
    finally:
        note_signals(False)


def train_here(csv_path, folder, *more):
    """Trains in the tests' own process, which saves the seconds of starting another one."""
    paths = ["--csv_path", csv_path, "--model_path", folder, "--tb_path", folder]
    options = parse_contrast_options([*SMALL, *map(str, paths), "-j", "0", "--epochs", "2", *map(str, more)])
    with as_a_script():
        trainer.train(options, "gloo", None)


def children(pid, pattern="."):
    """Numbers of the processes that a process has started, in their order; those whose command has the pattern."""
    listed = subprocess.run(["pgrep", "-P", str(pid), "-f", pattern], capture_output=True)
    return [int(number) for number in listed.stdout.split()]


def training_processes(launcher):
    """The children of a launcher that train."""
    return children(launcher, "spawn_main|fork_server")


def run_folder(folder):
    (only,) = Path(folder).iterdir()
    return only


def checkpoint(folder, name="current.pth"):
    return torch.load(run_folder(folder) / name, weights_only=True)


def tensors(state, prefix=""):
    """All tensors of a nested dictionary, by their path."""
    for key, value in state.items():
        if isinstance(value, dict):
            yield from tensors(value, f"{prefix}{key}/")
        elif isinstance(value, torch.Tensor):
            yield f"{prefix}{key}", value


def assert_same_training(a, b):
    a_tensors, b_tensors = dict(tensors(a)), dict(tensors(b))
    assert a_tensors.keys() == b_tensors.keys() and len(a_tensors) > 300
    for name, value in a_tensors.items():
        assert torch.equal(value, b_tensors[name]), name
    for name in ("queue_position", "epoch", "step", "global_step"):
        assert a[name] == b[name], name


def scalars(folder, tag):
    """(step, value) as TensorBoard shows them."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # that a restart hides what came after it is no news
    log = EventAccumulator(str(run_folder(folder)))
    log.Reload()
    return [(event.step, event.value) for event in log.Scalars(tag)]


def assert_same_curves(a, b):
    for tag in ("loss", "acc", "learning_rate"):
        assert scalars(a, tag) == scalars(b, tag), tag
