"""CONTRIBUTING.md's promises: a new distortion, and a new database, each change one file."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images import write_training_set

ROOT = Path(__file__).parents[1]

DISTORTION = '''

@distortion(levels=(2, 3, 4, 6, 8), grid=lambda size: size)
def zz_mosaic(image: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Repeats the first pixel of every square of ``size`` pixels."""
    rows, columns = (np.arange(length) // int(size) * int(size) for length in image.shape[:2])
    return image[rows[:, None], columns]
'''

DATABASE = """

@database("toy", "Toy database")
def read_toy(root: Path) -> pd.DataFrame:
    return read_labels(root / "toy.csv", "name", "score")
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the project that a test may change."""
    folder = tmp_path / "project"
    for package in ("common", "datasets", "learning", "networks", "options"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for script in ROOT.glob("*.py"):
        shutil.copy(script, folder)
    return folder


def run(folder, *arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.processes
def test_a_new_distortion_changes_one_file(copy, tmp_path):
    """All 27 are drawn once for each image, and the level head of the encoder knows them."""
    with open(copy / "datasets/distortions/blur.py", "a") as file:
        file.write(DISTORTION)
    csv_path = write_training_set(tmp_path / "images", 2)
    small = "--arch resnet18 --patch_size 32 --feat_dim 8 --nce_k 8 --batch_size 2 --epochs 1 --level_weight 0.3 -j 0"
    run(copy, "main_contrast.py", *small.split(), "--n_aug", 27, "--csv_path", csv_path, "--model_path", tmp_path)
    photograph = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(photograph)
    run(copy, "-m", "datasets.distortions", photograph, "--sheet", tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").exists()


@pytest.mark.processes
def test_a_new_database_changes_one_file(copy, tmp_path):
    with open(copy / "datasets/opinions/databases.py", "a") as file:
        file.write(DATABASE)
    assert "toy" in run(copy, "train_regressor.py", "--help")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 3))
    scores = features[:, 0] + 0.01 * rng.normal(size=40)
    names = [f"{number}.png" for number in range(40)]
    rows = [f"{name},{score}" for name, score in zip(names, scores, strict=True)]
    (tmp_path / "toy.csv").write_text("\n".join(["name,score", *rows]))
    np.savez(tmp_path / "features.npz", names=names, features=features)
    arguments = ["--database", "toy", "--root", tmp_path, "--features", tmp_path / "features.npz"]
    output = run(copy, "train_regressor.py", *arguments, "--estimator", "ridge", "--output", tmp_path / "r.skops")
    assert "Toy database" in output and "40 images" in output
