"""``python -m datasets.training_csv training_data csv_files/moco_train.csv``: lists the training images in a CSV.

The layout of ``training_data`` is that of the Re-IQA paper (section 4.1): pristine and in-the-wild images, about
740,000. ``csv_files/README.md`` draws it. Any other folder of images is listed with ``--all``.
"""

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import log
from common.errors import UserError
from common.process import run_script
from datasets.image_folders import FolderListing, scan_folder
from datasets.tables import write_csv


def _every_image(path: Path) -> bool:
    return True


@dataclass(frozen=True)
class Source:
    """One of the image sets: its folder below the root, the expected number of images, and which of its files count."""

    name: str
    folder: str
    expected: int
    counts: Callable[[Path], bool] = _every_image


def _is_pristine(path: Path) -> bool:
    return "dist_imgs" not in path.parts


def _is_naturally_blurred(path: Path) -> bool:
    # TrainingSet/Naturally-Blurred and EvaluationSet/NaturalBlurSet; the other images are sharp or blurred digitally.
    return any(re.match(r"natural(ly)?[-_ ]?blur", part, re.IGNORECASE) for part in path.parts)


def _is_photograph(path: Path) -> bool:
    # VOC's other folders hold segmentation maps.
    return "JPEGImages" in path.parts


SOURCES = (
    Source("KADIS-700k, pristine", "kadis700k", 140_000, _is_pristine),
    Source("AVA", "UGC_images/AVA_Dataset", 255_530),
    Source("COCO test2015", "UGC_images/test2015", 81_434),
    Source("COCO train2017", "UGC_images/train2017", 118_287),
    Source("COCO val2017", "UGC_images/val2017", 5_000),
    Source("COCO unlabeled2017", "UGC_images/unlabeled2017", 123_403),
    Source("CERTH-Blur, natural blur", "UGC_images/blur_image", 631, _is_naturally_blurred),
    Source("VOC 2012", "UGC_images/VOC2012", 17_125, _is_photograph),
)


def find_training_images(root: Path) -> tuple[dict[Source, list[Path]], FolderListing]:
    """The images of each source below ``root``, sorted; an empty list where a source is missing.

    The listing accounts for all files below the folders of the sources.
    """
    found, listing = {}, FolderListing()
    for source in SOURCES:
        folder = root / source.folder
        part = scan_folder(folder) if folder.is_dir() else FolderListing()
        listing.add(part)
        paths = (Path(os.fsdecode(path)) for path in part.images)
        found[source] = [path for path in paths if source.counts(path.relative_to(root))]
    return found, listing


def write_training_csv(paths: list[Path], csv_path: Path) -> None:
    """Writes one column, ``Image_path``, with a row per path; paths in any encoding survive the round trip."""
    from datasets.training_images import PATH_COLUMN  # imports torch, which --help does not need

    write_csv(csv_path, (PATH_COLUMN,), ([str(path)] for path in paths))


def list_training_images(root: Path, csv_path: Path, everything: bool) -> int:
    """Writes the training CSV of ``root``: of every image below it, or of those in the paper's layout.

    Returns the exit status, which is 1 if a folder could not be read. Raises UserError where there are no images.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder")
    if everything:
        listing = scan_folder(root)
        paths = [Path(os.fsdecode(path)) for path in listing.images]
    else:
        found, listing = find_training_images(root)
        for source, images in found.items():
            state = "missing" if not images else "" if len(images) >= source.expected else "incomplete"
            log.info(f"{source.name:26s} {len(images):8,d} of {source.expected:8,d}  {source.folder:30s} {state}")
        paths = [path for images in found.values() for path in images]
        unused = len(listing.images) - len(paths)
        if unused:
            listing.left_out["that these sets do not use"] = unused
    for sentence in listing.unreadable:
        log.error(sentence)
    left_out, folders = sum(listing.left_out.values()), len(listing.unreadable)
    account = f", {folders:,d} folders unreadable" if folders else ""
    account += f", {left_out:,d} left out ({listing.account()})" if left_out else ""
    if not paths:
        hint = "" if everything else "; --all lists a folder with a different layout"
        raise UserError(f"{root} holds no training images in the expected places{account}{hint}")
    write_training_csv(paths, csv_path)
    log.info(f"{len(paths):,d} images{account}: {csv_path}")
    return 1 if listing.unreadable else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.training_csv", description="Lists the training images in a CSV."
    )
    parser.add_argument("root", type=Path, help="folder of the training images")
    parser.add_argument("csv", type=Path, help="the CSV to write")
    parser.add_argument("--all", action="store_true", help="list every image below the folder, whatever its layout")
    options = parser.parse_args()
    log.set_script("datasets.training_csv")
    run_script(lambda: list_training_images(options.root, options.csv, options.all))


if __name__ == "__main__":
    main()
