"""``python -m datasets.weak_labels PHOTOS FOLDER`` writes photographs with weak labels.

All undistorted photographs have the same score (``--best``), and each level of a distortion takes ``--per_level`` away.
The scores are no opinions. The undistorted photographs teach a regressor which differences are no distortion; the
distorted ones, what distortions do. ``train_regressor.py --also_train FOLDER/mos.csv`` adds the images to the training
part of every split.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common import log
from common.atomic_files import check_outside
from common.process import run_script
from common.progress_bar import ProgressBar
from datasets.distortions import DISTORTIONS, N_LEVELS, distort
from datasets.images.lists import ListedImage, list_images
from datasets.opinions.tables import write_csv
from datasets.training.crops import centre
from networks.errors import UserError
from networks.images.reading import read_image

LARGEST_SIDE = 512
"""Pixels. Larger photographs are cropped to their middle."""

ORDERED = tuple(name for name, kind in DISTORTIONS.items() if kind.ordered)
"""The kinds whose quality falls from level to level."""


class Version(NamedTuple):
    """What is done to a photograph: a kind at a level, 1 to 5; None and 0 for an undistorted one."""

    photograph: int
    kind: str | None
    level: int


def draw_versions(n_photographs: int, n_undistorted: int, n_distorted: int, seed: int) -> list[Version]:
    """Versions of photographs 0 to n - 1: undistorted ones first, each of a different photograph, then distorted ones.

    Every photograph is distorted as often as any other, give or take one. Every kind and level is equally likely.
    """
    rng = np.random.default_rng(seed)
    undistorted = [Version(int(photograph), None, 0) for photograph in rng.permutation(n_photographs)[:n_undistorted]]
    rounds = -(-n_distorted // n_photographs)
    order = [int(photograph) for _ in range(rounds) for photograph in rng.permutation(n_photographs)][:n_distorted]
    kinds, levels = rng.integers(len(ORDERED), size=n_distorted), rng.integers(1, N_LEVELS + 1, n_distorted)
    return undistorted + [
        Version(photograph, ORDERED[kind], int(level))
        for photograph, kind, level in zip(order, kinds, levels, strict=True)
    ]


def write_weak_labels(
    photographs: Sequence[ListedImage],
    versions: Sequence[Version],
    folder: Path,
    best: float,
    per_level: float,
    seed: int,
) -> int:
    """Writes PNG images and ``mos.csv`` (image, mos, group, kind, level); the group is the photograph.

    A distortion may leave a photograph as it is, such as a change of colour a grey one: it then counts as undistorted.
    Returns the number of these. Raises UserError for a photograph that cannot be read, and for a folder that is not
    empty; nothing is left in ``folder`` where an error or a signal ends this.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new folder")
    rows = []
    n_unchanged = 0
    bar = ProgressBar(len(versions), "image")
    try:
        for index, version in enumerate(versions):
            photograph = photographs[version.photograph]
            image = undistorted = centre(read_image(photograph.path), LARGEST_SIDE)
            if version.kind:
                image = distort(undistorted, version.kind, version.level - 1, np.random.default_rng((seed, index)))
                if np.array_equal(image, undistorted):
                    n_unchanged += 1
                    version = Version(version.photograph, None, 0)
            of_kind = f"_{version.kind}_{version.level}" if version.kind else ""
            name = f"weak_{index:04d}{of_kind}.png"
            Image.fromarray(image).save(folder / name)
            score = f"{best - per_level * version.level:.12g}"
            rows.append((name, score, photograph.name, version.kind or "", version.level or ""))
            bar.add(1)
        bar.close()
        write_csv(folder / "mos.csv", ("image", "mos", "group", "kind", "level"), rows)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(f"folder {folder} cannot be written: {error.strerror or error}") from error
        raise
    return n_unchanged


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.weak_labels",
        description="Writes undistorted and distorted versions of photographs, with scores that fall by the level.",
    )
    add = parser.add_argument
    add("photographs", help="undistorted photographs: a folder, a table (.csv) or a list (.txt)")
    add("folder", type=Path, help="new folder to write the images and mos.csv to")
    add("--undistorted", type=int, default=800, help="undistorted images, at most one each (default: %(default)s)")
    add("--distorted", type=int, help="number of distorted images (default: a quarter of the undistorted ones)")
    add("--best", type=float, default=75, help="score without distortion (default: %(default)g)")
    add("--per_level", type=float, default=8, help="points of a level, < 0 if lower is better (default: %(default)g)")
    add("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    options = parser.parse_args()
    numbers = [options.undistorted, options.distorted or 0]
    if min(*numbers, options.seed) < 0 or not any(numbers):
        parser.error("--undistorted, --distorted and --seed must be at least 0, and not both numbers of images 0")
    if not (math.isfinite(options.best) and math.isfinite(options.per_level) and options.per_level):
        parser.error("--best and --per_level must be finite, and --per_level not 0, which scores all levels alike")

    folder, best, per_level, seed = options.folder, options.best, options.per_level, options.seed
    check_outside("folder", folder, [options.photographs])
    listing = list_images(options.photographs, "photographs")
    photographs = listing.images
    undistorted = min(options.undistorted, len(photographs))
    distorted = math.ceil(undistorted / 4) if options.distorted is None else options.distorted
    versions = draw_versions(len(photographs), undistorted, distorted, seed)
    unchanged = write_weak_labels(photographs, versions, folder, best, per_level, seed)
    changed = f", {unchanged:,d} of them unchanged and scored as undistorted" if unchanged else ""
    log.info(
        f"photographs {len(photographs):,d}, undistorted images {undistorted:,d}, distorted images "
        f"{distorted:,d}{changed}{listing.folders.account()}: {folder / 'mos.csv'}"
    )
    return 1 if listing.folders.unreadable else 0


if __name__ == "__main__":
    run_script(main, "interrupted; nothing was written")
