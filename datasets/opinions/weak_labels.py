"""Photographs with weak labels: all undistorted ones have the same score, and a level of distortion lowers it.

The scores are no opinions. The undistorted photographs teach a regressor which differences are no distortion; the
distorted ones, what distortions do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common.atomic_files import whole_folder
from common.progress_bar import ProgressBar
from datasets.distortions import DISTORTIONS, N_LEVELS, distort
from datasets.images import read_image
from datasets.images.lists import ListedImage
from datasets.opinions.tables import write_csv
from datasets.training.crops import centre

LARGEST_SIDE = 512
"""Pixels. Larger photographs are cropped to their middle."""

ORDERED = tuple(name for name, kind in DISTORTIONS.items() if kind.ordered)
"""The kinds whose quality falls from level to level."""


@dataclass(frozen=True)
class Version:
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
    empty; ``folder`` is written completely or not at all.
    """
    rows = []
    n_unchanged = 0
    with whole_folder(folder) as temporary:
        bar = ProgressBar(len(versions), "image")
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
            Image.fromarray(image).save(temporary / name)
            score = f"{best - per_level * version.level:.12g}"
            rows.append((name, score, photograph.name, version.kind or "", version.level or ""))
            bar.add(1)
        bar.close()
        write_csv(temporary / "mos.csv", ("image", "mos", "group", "kind", "level"), rows)
    return n_unchanged
