"""``python -m benchmarks.long_run``: does a long training grow? Memory, open files and threads, step by step.

2,000 steps of a small network with two workers, on images of which one in a hundred is broken. Prints a row for the
main process and one for the workers together, at step 100 and every 300 after it.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.dead_leaves import dead_leaves

N_IMAGES, BATCH_SIZE = 400, 4
STEPS_PER_EPOCH = N_IMAGES // BATCH_SIZE


def write_images(folder: Path) -> Path:
    """A training CSV of small images, one in a hundred of them broken."""
    rows = ["Image_path"]
    for index in range(N_IMAGES):
        path = folder / f"{index}.jpg"
        if index % 100 == 99:
            path.write_bytes(b"\xff\xd8\xff\xe0 torn off")
        else:
            Image.fromarray(dead_leaves(96, 72, np.random.default_rng(index))).save(path)
        rows.append(str(path))
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder / "train.csv"


def measure(pid: int) -> tuple[float, int, int]:
    """Memory of its own in MiB, open files, threads."""
    status = Path(f"/proc/{pid}/status").read_text()
    (anonymous,), (threads,) = re.findall(r"RssAnon:\s+(\d+) kB", status), re.findall(r"Threads:\s+(\d+)", status)
    return int(anonymous) / 1024, len(os.listdir(f"/proc/{pid}/fd")), int(threads)


def children(pid: int) -> list[int]:
    """Worker processes: forked by the process, and running the same program."""
    own = Path(f"/proc/{pid}/cmdline").read_bytes()
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if Path(f"/proc/{child}/cmdline").read_bytes() == own]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_run", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = f"""main_contrast.py --method MoCov2 --cosine --csv_path {write_images(folder)} --arch resnet18
            --patch_size 32 --n_aug 1 --n_scale 1 --nce_k 256 --batch_size {BATCH_SIZE} -j 2 --print_freq 100
            --epochs {options.steps // STEPS_PER_EPOCH} --save_freq 1000 --max_bad 2
            --model_path {folder / "run"} --tb_path {folder / "run"}"""
        process = subprocess.Popen(
            [sys.executable, *command.split()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        print(f"{'step':>5s}   {'main: MiB':>10s} {'files':>6s} {'threads':>8s}   {'workers: MiB':>13s} {'files':>6s} "
              f"{'threads':>8s}")  # fmt: skip
        assert process.stdout is not None, "it is a pipe"
        for line in process.stdout:
            found = re.match(r"epoch (\d+)/\d+  step (\d+)/", line)
            step = (int(found[1]) - 1) * STEPS_PER_EPOCH + int(found[2]) if found else 0
            if step and (step - 100) % 300 == 0 and process.poll() is None:
                memory, files, threads = measure(process.pid)
                workers = np.sum([measure(child) for child in children(process.pid)], axis=0)
                print(f"{step:5d}   {memory:10.0f} {files:6d} {threads:8d}   {workers[0]:13.0f} {workers[1]:6.0f} "
                      f"{workers[2]:8.0f}", flush=True)  # fmt: skip
            elif not found:
                print(f"        {line.rstrip()}")
        sys.exit(process.wait())


if __name__ == "__main__":
    main()
