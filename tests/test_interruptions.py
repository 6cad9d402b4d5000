"""Signals, killed processes and full disks: the message, the exit status, and that the training can be resumed."""

import os
import re
import signal
import subprocess
import sys

import pytest

from common.process import REQUEUE
from tests.images import write_training_set
from tests.runs import (
    PYTHON,
    SMALL,
    assert_same_curves,
    assert_same_training,
    checkpoint,
    children,
    free_port,
    start,
    training_processes,
)

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("narrow_networks")]

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"), n_images=16)


def begin(csv_path, folder, *more, n_processes=1, **options):
    """Starts a training that resumes by itself, in a process group of its own."""
    processes = ["--multiprocessing-distributed", "--nproc-per-node", n_processes]
    processes += ["--dist-url", f"tcp://127.0.0.1:{free_port()}"]
    paths = ["--csv_path", csv_path, "--model_path", folder, "--tb_path", folder, "--resume", "auto"]
    processes = processes if n_processes > 1 else []
    return start(*SMALL, *paths, *processes, *more, start_new_session=True, **options)


def until(process, said):
    for line in process.stdout:
        if said in line:
            return
    raise AssertionError(f"'{said}' was not printed: {process.stderr.read()}")


def test_the_same_training_twice_at_once_is_refused_and_the_first_continues_to_ctrl_c(csv_path, tmp_path):
    """For one process and for two, in two folders: both second starts wait their half minute at the same time.

    A terminal sends Ctrl-C to all processes of the command, data workers included.
    """

    def begin_in_both_folders():
        return [
            begin(csv_path, tmp_path / str(n), "--epochs", 1000, "--save_freq", 1000, n_processes=n) for n in (1, 2)
        ]

    firsts = begin_in_both_folders()
    for first in firsts:
        until(first, "step 1/4")
        os.killpg(first.pid, signal.SIGSTOP)  # it would take the cores meanwhile
    seconds = begin_in_both_folders()
    for first, second in zip(firsts, seconds, strict=True):
        said, errors = second.communicate(timeout=120)
        assert second.returncode == 1 and "waiting up to 10 s" in said
        assert re.search(r"main_contrast.py: .*is locked by process \d+ on .*; wait for its end, or stop it", errors)
        assert "Traceback" not in errors and first.poll() is None
    for first in firsts:
        os.killpg(first.pid, signal.SIGCONT)
        until(first, "step 3/4")
        os.killpg(first.pid, signal.SIGINT)
        _, errors = first.communicate(timeout=30)
        assert first.returncode == 130 and "Traceback" not in errors
        assert "interrupted" in errors and "saved, --resume auto continues from there" in errors


def test_a_training_that_waits_for_its_folder_continues_from_the_firsts_last_checkpoint(csv_path, tmp_path):
    more = ["--epochs", 1000, "-j", 0]
    first = begin(csv_path, tmp_path, *more)
    until(first, "step 1/4")

    impatient = begin(csv_path, tmp_path, *more)
    until(impatient, "waiting up to 10 s")
    impatient.send_signal(signal.SIGTERM)
    _, errors = impatient.communicate(timeout=5)
    assert impatient.returncode == REQUEUE and "interrupted by SIGTERM before the first step" in errors

    second = begin(csv_path, tmp_path, *more)
    until(second, "waiting up to 10 s")
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=60)
    (saved,) = re.findall(r"interrupted by SIGTERM after (.*); saved", errors)
    until(second, f"resuming after {saved} of")
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=60)
    assert second.returncode == 130


def test_three_processes_stop_together_and_resume_bit_for_bit(csv_path, tmp_path):
    """The signal reaches one of them. Three, since sums of two do not depend on their order."""
    more = ["--epochs", 2, "--batch_size", 6, "-j", 0, "--optimizer", "LARS"]
    whole = begin(csv_path, tmp_path / "whole", *more, n_processes=3)
    assert whole.communicate(timeout=300) and whole.returncode == 0
    stopped = begin(csv_path, tmp_path / "stopped", *more, n_processes=3)
    until(stopped, "step 1/3")
    os.kill(training_processes(stopped.pid)[-1], signal.SIGUSR1)
    _, errors = stopped.communicate(timeout=120)
    assert stopped.returncode == REQUEUE
    assert re.fullmatch(
        r"main_contrast.py: interrupted by SIGUSR1 after step [123] of epoch \d; saved, --resume auto continues .*\n",
        errors.replace("after epoch 1;", "after step 3 of epoch 1;"),
    )
    resumed = begin(csv_path, tmp_path / "stopped", *more, n_processes=3)
    assert resumed.communicate(timeout=300) and resumed.returncode == 0
    assert_same_training(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "stopped"))
    assert_same_curves(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize(("number", "launcher"), [(signal.SIGHUP, PYTHON), (signal.SIGUSR1, None)])
def test_a_signal_to_everything_ends_in_a_checkpoint(csv_path, tmp_path, number, launcher):
    """Schedulers, and a terminal that closes, send it to launcher, training processes and data workers."""
    process = begin(csv_path, tmp_path, "--epochs", 1000, n_processes=2, launcher=launcher)
    until(process, "epoch 1/1000  step 1/4")
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == REQUEUE
    assert errors.startswith(f"main_contrast.py: interrupted by {number.name} after ") and errors.count("\n") == 1
    state = checkpoint(tmp_path)
    assert state["global_step"] == 4 * state["epoch"] + state["step"] > 0


def test_who_died_is_said_on_its_node_and_the_other_node_ends(csv_path, tmp_path):
    """Two nodes of one process; the second one's is killed, as the system does it when memory runs out."""
    url = f"tcp://127.0.0.1:{free_port()}"
    command = ["--multiprocessing-distributed", "--world-size", 2, "--dist-url", url, "--epochs", 1000, "-j", 0]
    nodes = [begin(csv_path, tmp_path, *command, "--rank", rank) for rank in range(2)]
    until(nodes[0], "epoch 1/1000  step 1/4")
    (victim,) = training_processes(nodes[1].pid)
    os.kill(victim, signal.SIGKILL)
    first, second = (node.communicate(timeout=60)[1] for node in nodes)
    assert [node.returncode for node in nodes] == [1, 1] and "Traceback" not in first + second
    assert re.search(rf"process 1 on \S+ \(node 1, pid {victim}\) was ended by SIGKILL; .*memory", second)
    assert re.search(r"process 0 on \S+: stopped, since another process has ended", first)
    assert "stopped, since another process has ended" in first and "ended with status 69" in first


def test_torchrun_restarts_what_died_and_it_comes_to_its_end(csv_path, tmp_path):
    more = ["--epochs", 2, "--save_steps", 2, "-j", 0]
    torchrun = [*TORCHRUN, "--nproc-per-node=2", f"--master-port={free_port()}", "--max-restarts=3"]
    process = begin(csv_path, tmp_path, *more, launcher=torchrun)
    until(process, "epoch 1/2  step 3/4")
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "2 processes on cpu over gloo" in output
    assert re.search("resuming after (step 2 of )?epoch [12] of", output) and "finished" in output
    assert checkpoint(tmp_path)["epoch"] == 2


def test_a_worker_that_died_is_named_with_the_remedy(csv_path, tmp_path):
    process = begin(csv_path, tmp_path, "--epochs", 1000, "-j", 1)
    until(process, "epoch 1/1000  step 1/4")
    (worker,) = (child for child in children(process.pid) if child not in children(process.pid, "resource_tracker"))
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in errors
    assert re.search(r"a data worker (was ended by a signal \(Killed\)|ended unexpectedly); .* workers \(-j\)", errors)


def test_too_little_shared_memory_is_named_with_the_remedy(csv_path, tmp_path):
    small = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=64k none /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*small, "true"], capture_output=True).returncode:
        pytest.skip("no other /dev/shm can be mounted here")
    process = begin(csv_path, tmp_path, "-j", 1, launcher=[*small, sys.executable])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in errors.split("main_contrast.py: ")[-1]
    assert "shared memory (/dev/shm)" in errors and "--shm-size" in errors


@pytest.mark.parametrize("full", ["--model_path", "--tb_path"])
def test_a_full_disk_stops_the_run_with_a_sentence(csv_path, tmp_path, full):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = "12m" if full == "--model_path" else "128k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        if full == "--tb_path":
            (disk / "other").write_bytes(bytes(120_000))
        process = begin(csv_path, tmp_path / "run", full, disk, "-j", 0, "--epochs", 1000)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1 and "Traceback" not in errors
        assert re.search(rf"{re.escape(str(disk))}.* cannot be written: No space left on device", errors)
        if full == "--model_path":
            assert checkpoint(disk)["epoch"] >= 1
    finally:
        subprocess.run(["umount", disk], check=True)
