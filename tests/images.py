"""Small pictures for the tests."""

import csv
import functools
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from datasets.distortions import N_LEVELS, distort
from tests.dead_leaves import dead_leaves


@functools.cache
def _china() -> np.ndarray:
    return load_sample_image("china.jpg")


def photograph(height: int, width: int, top: int = 60, left: int = 120) -> np.ndarray:
    """A cut of scikit-learn's photograph of a temple: edges, texture and flat sky; uint8 (height, width, 3)."""
    return _china()[top : top + height, left : left + width].copy()


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_training_set(folder: Path, n_images: int = 8, width: int = 96, height: int = 72) -> Path:
    """Writes dead-leaves images and a training CSV of them; returns the CSV's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["Image_path"]
    for index in range(n_images):
        path = folder / f"{index}.png"
        Image.fromarray(dead_leaves(width, height, np.random.default_rng(index))).save(path)
        rows.append(str(path))
    csv_path = folder / "train.csv"
    csv_path.write_text("\n".join(rows) + "\n")
    return csv_path


def write_shards(paths: Sequence[str], folder: Path) -> Path:
    """Copies the files into tar shards of three, as tar does; returns ``folder``."""
    folder.mkdir()
    for number, first in enumerate(range(0, len(paths), 3)):
        shard = folder / f"shard-{number:06d}.tar"
        with tarfile.open(shard, "w") as tar:
            for path in paths[first : first + 3]:
                tar.add(path, Path(path).name)
    return folder


def write_labelled(folder: Path, n_images: int = 40) -> Path:
    """Writes images that are blurred the more the lower their score is, two of each group; returns their table."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with open(folder / "scores.csv", "w") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mos", "group"])
        for index in range(n_images):
            image = distort(dead_leaves(70, 50, rng), "gaussian_blur", index % N_LEVELS, rng)
            Image.fromarray(image).save(folder / f"{index}.png")
            writer.writerow([f"{index}.png", 5 - index % N_LEVELS + 0.01 * index, index // 2])
    return folder / "scores.csv"
