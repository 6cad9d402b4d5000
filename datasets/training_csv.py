"""``python -m datasets.training_csv training_data csv_files/moco_train.csv``: lists the training images in a CSV.

The layout of ``training_data`` is that of the Re-IQA paper (section 4.1): pristine and in-the-wild images, about
740,000. ``csv_files/README.md`` draws it. Any other folder of images is listed with ``--all``.
"""

import argparse
import os
import re
from pathlib import Path

from common import log
from common.names import PATH_COLUMN
from common.process import run_script
from datasets.images.folders import FolderListing, scan_folder
from datasets.opinions.tables import write_csv
from networks.errors import UserError

# CERTH-Blur: TrainingSet/Naturally-Blurred and EvaluationSet/NaturalBlurSet; the other images are sharp or blurred
# digitally. VOC's other folders hold segmentation maps.
SOURCES = (
    ("KADIS-700k, pristine", "kadis700k", 140_000, r"(?s)^(?!.*/dist_imgs/)"),
    ("AVA", "UGC_images/AVA_Dataset", 255_530, ""),
    ("COCO test2015", "UGC_images/test2015", 81_434, ""),
    ("COCO train2017", "UGC_images/train2017", 118_287, ""),
    ("COCO val2017", "UGC_images/val2017", 5_000, ""),
    ("COCO unlabeled2017", "UGC_images/unlabeled2017", 123_403, ""),
    ("CERTH-Blur, natural blur", "UGC_images/blur_image", 631, r"(?i)/natural(ly)?[-_ ]?blur"),
    ("VOC 2012", "UGC_images/VOC2012", 17_125, "/JPEGImages/"),
)
"""The image sets: name, folder below the root, expected number of images, and what the paths of those that count hold,
a regular expression."""


def list_training_images(root: Path, everything: bool) -> tuple[list[str], FolderListing]:
    """Every image below ``root``, or those in the paper's layout; the listing accounts for the files left out.

    Raises UserError where there are no images.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder")
    if everything:
        listing = scan_folder(root)
        paths = listing.images
    else:
        listing, paths = FolderListing(), []
        for name, folder, expected, counts in SOURCES:
            part = scan_folder(root / folder) if (root / folder).is_dir() else FolderListing()
            images = [one for one in part.images if re.search(counts, one.removeprefix(os.fspath(root)))]
            state = "missing" if not images else "" if len(images) >= expected else "incomplete"
            log.info(f"{name:26s} {len(images):8,d} of {expected:8,d}  {folder:30s} {state}")
            paths += images
            listing.add(part)
        unused = len(listing.images) - len(paths)
        if unused:
            listing.left_out["that these sets do not use"] = unused
    for sentence in listing.unreadable:
        log.error(sentence)
    if not paths:
        hint = "" if everything else "; --all lists a folder with a different layout"
        raise UserError(f"{root} holds no training images in the expected places{listing.account()}{hint}")
    return paths, listing


def main() -> int:
    """Returns the exit status: 1 if a folder could not be read. Raises UserError for a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m datasets.training_csv", description="Lists the training images in a CSV."
    )
    parser.add_argument("root", type=Path, help="folder of the training images")
    parser.add_argument("csv", type=Path, help="the CSV to write")
    parser.add_argument("--all", action="store_true", help="list every image below the folder, whatever its layout")
    options = parser.parse_args()
    if options.csv.suffix.lower() != ".csv":
        raise UserError(f"{options.csv}: the name of the CSV to write must end in .csv")
    paths, listing = list_training_images(options.root, options.all)
    write_csv(options.csv, (PATH_COLUMN,), ([path] for path in paths))
    log.info(f"{len(paths):,d} images{listing.account()}: {options.csv}")
    return 1 if listing.unreadable else 0


if __name__ == "__main__":
    run_script(main)
