"""``python -m datasets.training_csv training_data csv_files/moco_train.csv``: lists the training images in a CSV.

The layout of ``training_data`` is that of the Re-IQA paper (section 4.1): pristine and in-the-wild images, about
740,000. ``csv_files/README.md`` draws it. Any other folder of images is listed with ``--all``.
"""

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from datasets.images import find_images
from datasets.tables import write_csv
from datasets.training_images import PATH_COLUMN


def _every_image(path: Path) -> bool:
    return True


@dataclass(frozen=True)
class Source:
    """One of the image sets: where it lies below the root, which of its files count, how many there should be."""

    name: str
    folder: str
    expected: int
    counts: Callable[[Path], bool] = _every_image


def _is_pristine(path: Path) -> bool:
    return "dist_imgs" not in path.parts


def _is_naturally_blurred(path: Path) -> bool:
    # TrainingSet/Naturally-Blurred and EvaluationSet/NaturalBlurSet; the rest is sharp or blurred by computer.
    return any(re.match(r"natural(ly)?[-_ ]?blur", part, re.IGNORECASE) for part in path.parts)


def _is_photograph(path: Path) -> bool:
    # VOC's other image folders hold segmentation maps.
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


def find_training_images(root: Path) -> dict[Source, list[Path]]:
    """The images of each source below ``root``, sorted; an empty list where a source is missing."""
    return {
        source: [path for path in find_images(root / source.folder) if source.counts(path.relative_to(root))]
        for source in SOURCES
    }


def write_training_csv(paths: list[Path], csv_path: Path) -> None:
    """Writes one column, ``Image_path``, a row per path; names in any encoding come back as they were."""
    write_csv(csv_path, (PATH_COLUMN,), ([str(path)] for path in paths))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m datasets.training_csv", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the training images")
    parser.add_argument("csv", type=Path, help="the CSV to write")
    parser.add_argument("--all", action="store_true", help="list every image below the folder, whatever its layout")
    options = parser.parse_args()
    try:
        if not options.root.is_dir():
            raise UserError(f"{options.root} is not a folder")
        if options.all:
            paths = find_images(options.root)
        else:
            found = find_training_images(options.root)
            for source, images in found.items():
                state = "missing" if not images else "" if len(images) >= source.expected else "incomplete"
                print(f"{source.name:26s} {len(images):8,d} of {source.expected:8,d}  {source.folder:30s} {state}")
            paths = [path for images in found.values() for path in images]
        if not paths:
            hint = "" if options.all else "; --all lists a folder of another layout"
            raise UserError(f"{options.root} holds no training images where they are expected{hint}")
        write_training_csv(paths, options.csv)
    except UserError as error:
        sys.exit(f"datasets.training_csv: {error}")
    print(f"{len(paths):,d} images: {options.csv}")


if __name__ == "__main__":
    main()
