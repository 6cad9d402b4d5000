"""``python -m benchmarks.cold_start``: seconds to the score of one photograph, and to the help of each script.

Wall-clock time of complete processes, beside ``import torch`` alone, which no script that computes can avoid. Each is
the median of five runs after one that fills the file system's cache; the runs alternate.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from PIL import Image
from sklearn.datasets import load_sample_image

from benchmarks.table import Row, print_table

ROOT = Path(__file__).parent.parent
SCRIPTS = (
    "main_contrast.py", "demo_quality_aware_feats.py", "predict_quality.py", "train_regressor.py",
    "-m datasets.training_csv", "-m datasets.distortions",
    "-m networks.checkpoints", "-m networks.export", "-m learning.regression.compare",
    "-m learning.regression.across", "-m learning.regression.dlp_tests",
)  # fmt: skip
N_RUNS = 5


def seconds(*arguments: str) -> float:
    """Wall-clock time of one process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - began


def alternately(*commands: list[str]) -> list[float]:
    """The median time of each command."""
    for command in commands:
        seconds(*command)
    runs = [[seconds(*command) for command in commands] for _ in range(N_RUNS)]
    return [median(times) for times in zip(*runs, strict=True)]


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        photograph = str(Path(folder) / "photograph.jpg")
        Image.fromarray(load_sample_image("china.jpg")).resize((512, 384)).save(photograph)
        score, torch = alternately(["predict_quality.py", "--input", photograph], ["-c", "import torch"])
    yield Row(
        "score of one photograph",
        f"{score:.1f} s",
        f"import torch, {torch:.1f} s",
        f"{score / torch:.1f}",
        "at most 4 s",
    )
    for script in SCRIPTS:
        help_, python = alternately([*script.split(), "--help"], ["-c", "pass"])
        yield Row(
            f"{script} --help",
            f"{help_:.2f} s",
            f"python alone, {python:.2f} s",
            f"{help_ / python:.1f}",
            "at most 0.6 s",
        )


if __name__ == "__main__":
    print_table(rows())
