"""``python -m datasets.weak_labels PHOTOS FOLDER`` writes photographs with weak labels (datasets.opinions.weak_labels).

An undistorted photograph has the score ``--best``, and each level of a distortion takes ``--per_level`` away.
``train_regressor.py --also_train FOLDER/mos.csv`` adds the images to the training part of every split.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from common import log
from common.atomic_files import check_outside
from common.process import run_script
from datasets.images.lists import list_images
from datasets.opinions.weak_labels import draw_versions, write_weak_labels


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.weak_labels",
        description="Writes undistorted and distorted versions of photographs; their scores fall with the level of "
        "distortion.",
    )
    parser.add_argument("photographs", help="undistorted photographs: a folder, a table (.csv) or a list (.txt)")
    parser.add_argument("folder", type=Path, help="new folder to write the images and mos.csv to")
    parser.add_argument(
        "--undistorted",
        type=int,
        default=800,
        help="number of undistorted images; with fewer photographs, one of each (default: %(default)s)",
    )
    parser.add_argument(
        "--distorted", type=int, help="number of distorted images (default: a quarter of the undistorted ones)"
    )
    parser.add_argument("--best", type=float, default=75, help="score without distortion (default: %(default)g)")
    parser.add_argument(
        "--per_level",
        type=float,
        default=8,
        help="points that a level takes; negative where lower is better (default: %(default)g)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    options = parser.parse_args()
    for name in ("undistorted", "distorted", "seed"):
        if (getattr(options, name) or 0) < 0:
            parser.error(f"--{name} {getattr(options, name)} must be at least 0")
    for name in ("best", "per_level"):
        if not math.isfinite(getattr(options, name)):
            parser.error(f"--{name} {getattr(options, name)} is not a finite number")
    if options.per_level == 0:
        parser.error("--per_level 0 would score all levels alike; a negative one is for scores where lower is better")
    if options.undistorted == 0 and not options.distorted:
        parser.error("--undistorted 0 needs --distorted of at least 1")

    def work() -> int:
        folder = options.folder
        check_outside("folder", folder, [options.photographs])
        listing = list_images(options.photographs, "photographs")
        for sentence in listing.unreadable:
            log.error(sentence)
        photographs = listing.images
        undistorted = min(options.undistorted, len(photographs))
        distorted = math.ceil(undistorted / 4) if options.distorted is None else options.distorted
        versions = draw_versions(len(photographs), undistorted, distorted, options.seed)
        unchanged = write_weak_labels(photographs, versions, folder, options.best, options.per_level, options.seed)
        changed = f", {unchanged:,d} of them unchanged and scored as undistorted" if unchanged else ""
        log.info(
            f"photographs {len(photographs):,d}, undistorted images {undistorted:,d}, distorted images "
            f"{distorted:,d}{changed}{listing.account()}: {folder / 'mos.csv'}"
        )
        return 1 if listing.unreadable else 0

    log.set_script("datasets.weak_labels")
    run_script(work, "interrupted; nothing was written")


if __name__ == "__main__":
    main()
