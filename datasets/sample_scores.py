"""The embedded labelled set: distorted images, scored by their level of distortion, to demonstrate a regressor.

``python -m datasets.sample_scores FOLDER`` writes the images and ``scores.csv``. The scores are not opinions: an
undistorted image has 5, and each level of a distortion takes one away.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from common import log
from common.atomic_files import whole_file
from common.process import run_script
from datasets.distortions import DISTORTIONS, N_LEVELS, distort
from datasets.opinions.tables import write_csv
from datasets.sample_images import dead_leaves, sample_photographs

IMAGE_SIZE = (192, 144)
SHOWN = ("gaussian_blur", "jpeg")
"""Distortions that get worse with their level, and that a small encoder can tell apart."""


def sample_scenes(n_dead_leaves: int, photographs: bool, seed: int) -> dict[str, np.ndarray]:
    """Undistorted images, name -> uint8 RGB (144, 192, 3): crops of the photographs, and dead leaves."""
    width, height = IMAGE_SIZE
    scenes = {}
    for name, image in sample_photographs().items() if photographs else ():
        for part, (top, left) in enumerate(((60, 40), (60, 300), (230, 40), (230, 300))):
            scenes[f"{name}_{part}"] = image[top : top + height, left : left + width].copy()
    for index in range(n_dead_leaves):
        scenes[f"leaves_{index:02d}"] = dead_leaves(width, height, np.random.default_rng((seed, index)))
    return scenes


def write_sample_scores(folder: Path, n_dead_leaves: int = 22, photographs: bool = True, seed: int = 1) -> int:
    """Writes all scenes with all levels and ``scores.csv`` (image, mos, group) into ``folder``; returns the number."""
    rows = []
    for scene_index, (scene, image) in enumerate(sample_scenes(n_dead_leaves, photographs, seed).items()):
        versions = {f"{scene}.png": (image, N_LEVELS)}
        for name in SHOWN:
            for level in range(N_LEVELS):
                rng = np.random.default_rng((seed, scene_index, list(DISTORTIONS).index(name), level))
                distorted = distort(image, name, level, rng)
                versions[f"{scene}_{name}_{level}.png"] = distorted, N_LEVELS - 1 - level
        for file, (pixels, score) in versions.items():
            with whole_file(folder / file, durable=False) as temporary:
                Image.fromarray(pixels).save(temporary)
            rows.append((file, score, scene))
    write_csv(folder / "scores.csv", ("image", "mos", "group"), rows)
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m datasets.sample_scores", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write the images and scores.csv")
    parser.add_argument("--n_dead_leaves", type=int, default=22, help="number of dead-leaves scenes")
    parser.add_argument("--no_photographs", action="store_true", help="leave out the photographs' scenes")
    parser.add_argument("--seed", type=int, default=1, help="random seed for scenes and distortions")
    options = parser.parse_args()

    def work() -> None:
        n_images = write_sample_scores(options.folder, options.n_dead_leaves, not options.no_photographs, options.seed)
        log.info(f"{n_images} images, scored by their level of distortion: {options.folder / 'scores.csv'}")

    log.set_script("datasets.sample_scores")
    run_script(work)


if __name__ == "__main__":
    main()
