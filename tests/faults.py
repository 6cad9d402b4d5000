"""Kills a two-process training again and again, resumes it with the same command, and compares the end bit by bit.

    python -m tests.faults --kills 20      (make test-faults)

Each fault is a SIGKILL at a random moment: to all processes of the machine, as when it loses power, or to one of the
two that train, as when memory runs out. Some come while a checkpoint is being written, which is waited for by its
temporary file. Prints a table: faults tried, survived, steps that were lost and done again.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from learning.contrastive.training_state import Position, newest_checkpoint
from networks.errors import UserError
from tests.images import write_training_set
from tests.runs import SMALL, assert_same_curves, assert_same_training, checkpoint, free_port, training_processes
from tests.runs import start as start_script

KINDS = ("all processes", "one process", "all processes, during a save")


def start(csv_path: Path, folder: Path, epochs: int):
    """The training, always by the same command but for a free port, as the leader of a process group of its own."""
    processes = f"--multiprocessing-distributed --nproc-per-node 2 --dist-url tcp://127.0.0.1:{free_port()}".split()
    paths = ["--csv_path", csv_path, "--model_path", folder, "--tb_path", folder]
    more = ["-j", 0, "--epochs", epochs, "--save_steps", 2, "--keep", 2, "--resume", "auto"]
    return start_script(*SMALL, *processes, *paths, *more, start_new_session=True)


def wait_for_steps(process: subprocess.Popen, n_steps: int) -> list[tuple[int, int]]:
    """Reads what is printed until ``n_steps`` more are done, or all; (epoch, step) of each."""
    steps = []
    for line in process.stdout:
        if found := re.match(r"epoch (\d+)/\d+  step (\d+)/", line):
            steps.append((int(found[1]), int(found[2])))
            if len(steps) == n_steps:
                break
    return steps


def wait_for_a_save(folder: Path, seconds: float = 10) -> bool:
    """Returns as soon as a checkpoint is being written; False if none was."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if list(folder.glob("*/.*.tmp.pth")):
            return True
    return False


def kill(process: subprocess.Popen, kind: str, folder: Path, rng: random.Random) -> str:
    """Kills at a random moment, waits until no process of the training is left, and returns the kind of fault."""
    if not kind.endswith("save"):
        time.sleep(rng.random() / 2)
    elif not wait_for_a_save(folder):
        kind = KINDS[0]
    try:
        if kind.startswith("one"):
            os.kill(rng.choice(training_processes(process.pid) or [process.pid]), signal.SIGKILL)
            process.wait(timeout=60)  # the others end by themselves
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it had come to its end
    process.communicate(timeout=60)
    return kind


def saved_position(folder: Path) -> Position:
    runs = list(folder.iterdir()) if folder.exists() else []
    saved = newest_checkpoint(runs[0]) if runs else None
    return saved.position if saved else Position()


def run_faults(kills: int, epochs: int, images: int, seed: int, folder: Path) -> str:
    """The table. Raises AssertionError if the end differs, and UserError if a run could not be resumed."""
    rng = random.Random(seed)
    csv_path = write_training_set(folder / "images", images)
    undisturbed = start(csv_path, folder / "undisturbed", epochs)
    _, errors = undisturbed.communicate()
    if undisturbed.returncode:
        raise UserError(f"the undisturbed training failed: {errors}")

    tried, survived, lost = Counter(), Counter(), Counter()
    n_steps = epochs * -(-images // 4)
    for fault in range(kills):
        kind = KINDS[fault % len(KINDS)]
        before = saved_position(folder / "killed").global_step
        if before == n_steps:  # done already: once more from the start
            shutil.rmtree(folder / "killed")
            before = 0
        process = start(csv_path, folder / "killed", epochs)
        done = wait_for_steps(process, rng.randint(1, max(1, (n_steps - before) // (kills - fault))))
        kind = kill(process, kind, folder / "killed", rng)
        tried[kind] += 1
        after = saved_position(folder / "killed").global_step
        if after < before:
            raise UserError(f"fault {fault + 1} ({kind}): the checkpoint of step {before} was lost")
        survived[kind] += 1
        lost[kind] += max(0, before + len(done) - after)
    last = start(csv_path, folder / "killed", epochs)
    _, errors = last.communicate()
    if last.returncode:
        raise UserError(f"the last run failed: {errors}")
    assert_same_training(checkpoint(folder / "undisturbed"), checkpoint(folder / "killed"))
    assert_same_curves(folder / "undisturbed", folder / "killed")

    rows = [f"| {kind} | {tried[kind]} | {survived[kind]} | {lost[kind]} |" for kind in KINDS if tried[kind]]
    head = ["| SIGKILL to | tried | survived | steps done again |", "|---|---|---|---|"]
    return "\n".join(
        [*head, *rows, "", "weights, queue, optimiser and curves at the end: bit for bit the undisturbed run's"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(run_faults(options.kills, options.epochs, options.images, options.seed, Path(folder)))


if __name__ == "__main__":
    main()
