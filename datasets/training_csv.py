"""``python -m datasets.training_csv training_data csv_files/moco_train.csv``: lists the training images in a CSV.

The layout of ``training_data`` is that of the Re-IQA paper (section 4.1): pristine and in-the-wild images, about
740,000. ``csv_files/README.md`` draws it. Any other folder of images is listed with ``--all``.
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import log
from common.errors import UserError
from common.process import run_script
from datasets.image_folders import find_images
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


def find_training_images(root: Path) -> dict[Source, list[Path]]:
    """The images of each source below ``root``, sorted; an empty list where a source is missing."""
    return {
        source: [path for path in find_images(root / source.folder) if source.counts(path.relative_to(root))]
        for source in SOURCES
    }


def write_training_csv(paths: list[Path], csv_path: Path) -> None:
    """Writes one column, ``Image_path``, with a row per path; paths in any encoding survive the round trip."""
    from datasets.training_images import PATH_COLUMN  # imports torch, which --help does not need

    write_csv(csv_path, (PATH_COLUMN,), ([str(path)] for path in paths))


def list_training_images(root: Path, csv_path: Path, everything: bool) -> None:
    """Writes the training CSV of ``root``: of every image below it, or of those in the paper's layout.

    Raises UserError where there are none.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder")
    if everything:
        paths = find_images(root)
    else:
        found = find_training_images(root)
        for source, images in found.items():
            state = "missing" if not images else "" if len(images) >= source.expected else "incomplete"
            log.info(f"{source.name:26s} {len(images):8,d} of {source.expected:8,d}  {source.folder:30s} {state}")
        paths = [path for images in found.values() for path in images]
    if not paths:
        hint = "" if everything else "; --all lists a folder with a different layout"
        raise UserError(f"{root} holds no training images in the expected places{hint}")
    write_training_csv(paths, csv_path)
    log.info(f"{len(paths):,d} images: {csv_path}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m datasets.training_csv", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the training images")
    parser.add_argument("csv", type=Path, help="the CSV to write")
    parser.add_argument("--all", action="store_true", help="list every image below the folder, whatever its layout")
    options = parser.parse_args()
    log.set_script("datasets.training_csv")
    run_script(lambda: list_training_images(options.root, options.csv, options.all))


if __name__ == "__main__":
    main()
