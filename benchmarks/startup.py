"""How long a user waits for the first score, and for a command's help: ``python -m benchmarks.startup``.

Each row is processor seconds of a complete process, user and system time together: the fastest of several runs, after
one that is not counted. On a quiet machine the waiting time is about the same, plus the time in which a cold disk reads
the packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.table import Row, print_table

ROOT = Path(__file__).parents[1]
RUNS = 5

COMMANDS = (
    "main_contrast.py", "demo_quality_aware_feats.py", "predict_quality.py", "train_regressor.py",
    "-m datasets.training_csv", "-m datasets.distortions", "-m datasets.sample_images", "-m datasets.sample_opinions",
    "-m datasets.sample_scores", "-m networks.checkpoints", "-m networks.export", "-m learning.regression.compare",
    "-m learning.regression.across",
)  # fmt: skip


def processor_seconds(arguments: list[str]) -> float:
    """User and system time of ``python`` with these arguments and of the processes that it starts."""
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def fastest(arguments: list[str]) -> float:
    processor_seconds(arguments)
    return min(processor_seconds(arguments) for _ in range(RUNS))


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        photograph = Path(folder, "photograph.jpg")
        noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photograph)
        score, torch = fastest(["predict_quality.py", "--input", str(photograph)]), fastest(["-c", "import torch"])
    ratio = f"{score / torch:.2f}"
    yield Row(
        "first score of 500x500, embedded model", f"{score:.2f} s", f"import torch, {torch:.2f} s", ratio, "at most 4 s"
    )
    for command in COMMANDS:
        yield Row(f"--help of {command}", f"{fastest([*command.split(), '--help']):.2f} s", aim="at most 0.6 s")


if __name__ == "__main__":
    print_table(rows())
