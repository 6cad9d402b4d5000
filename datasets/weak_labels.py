"""Distorted photographs that are scored by the level of their distortion, to teach a regressor what distortions do.

``python -m datasets.weak_labels PHOTOS FOLDER`` writes the images and ``mos.csv``. The scores are no opinions: an
undistorted photograph has ``--best``, and each level of a distortion takes ``--per_level`` away.
``train_regressor.py --also_train FOLDER/mos.csv`` adds them to the training part of every split. Without them, a
regressor can take noise for detail, where its database has few noisy photographs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common import log
from common.atomic_files import whole_file
from common.errors import UserError
from common.process import run_script
from common.progress_bar import ProgressBar
from datasets.distortions import DISTORTIONS, N_LEVELS, distort
from datasets.image_lists import ListedImage, list_images
from datasets.images import read_image
from datasets.tables import write_csv

LARGEST_SIDE = 512
"""Pixels; of a larger photograph, the middle is used."""

ORDERED = tuple(name for name, kind in DISTORTIONS.items() if kind.ordered)
"""The kinds whose quality falls from level to level."""


@dataclass(frozen=True)
class Version:
    """What is done to a photograph: a kind at a level, 1 to 5; None and 0 for an undistorted one."""

    photograph: int
    kind: str | None
    level: int


def draw_versions(n_photographs: int, number: int, seed: int) -> list[Version]:
    """``number`` versions of photographs 0 to n - 1, each used as often as any other, give or take one.

    All ordered kinds are equally frequent, and so is no distortion.
    """
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(n_photographs) for _ in range(-(-number // n_photographs))])
    kinds = [None, *ORDERED]
    drawn = [kinds[rng.integers(len(kinds))] for _ in range(number)]
    levels = rng.integers(1, N_LEVELS + 1, number)
    return [
        Version(int(photograph), kind, int(level) if kind else 0)
        for photograph, kind, level in zip(order[:number], drawn, levels, strict=True)
    ]


def write_weak_labels(
    photographs: Sequence[ListedImage], folder: Path, number: int, best: float, per_level: float, seed: int
) -> None:
    """Writes PNG images and ``mos.csv`` (image, mos, group, kind, level); the group is the photograph.

    Raises UserError for a photograph that cannot be read, and for a folder that is not empty.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new folder")
    rows = []
    bar = ProgressBar(number, "image")
    for index, version in enumerate(draw_versions(len(photographs), number, seed)):
        photograph = photographs[version.photograph]
        image = middle(read_image(photograph.path), LARGEST_SIDE)
        if version.kind:
            image = distort(image, version.kind, version.level - 1, np.random.default_rng((seed, index)))
        name = f"{index:04d}_{version.kind}_{version.level}.png" if version.kind else f"{index:04d}.png"
        with whole_file(folder / name, durable=False) as temporary:
            Image.fromarray(image).save(temporary)
        score = f"{best - per_level * version.level:g}"
        rows.append((name, score, photograph.name, version.kind or "", version.level or ""))
        bar.add(1)
    bar.close()
    write_csv(folder / "mos.csv", ("image", "mos", "group", "kind", "level"), rows)


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of (H, W, 3), at most ``side`` pixels wide and high."""
    top, left = (max(0, (size - side) // 2) for size in image.shape[:2])
    return image[top : top + side, left : left + side].copy()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.weak_labels",
        description="Distorts photographs, and scores them by the level of the distortion.",
    )
    parser.add_argument("photographs", help="undistorted photographs: a folder, a table (.csv) or a list (.txt)")
    parser.add_argument("folder", type=Path, help="new folder to write the images and mos.csv to")
    parser.add_argument("--number", type=int, default=400, help="number of images (default: %(default)s)")
    parser.add_argument("--best", type=float, default=85, help="score without distortion (default: %(default)g)")
    parser.add_argument("--per_level", type=float, default=6, help="points that a level takes (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    options = parser.parse_args()
    if options.number < 1:
        parser.error(f"--number {options.number} must be at least 1")

    def work() -> None:
        photographs = list_images(options.photographs).images
        write_weak_labels(photographs, options.folder, options.number, options.best, options.per_level, options.seed)
        log.info(f"{options.number:,d} versions of {len(photographs):,d} photographs: {options.folder / 'mos.csv'}")

    log.set_script("datasets.weak_labels")
    run_script(work)


if __name__ == "__main__":
    main()
