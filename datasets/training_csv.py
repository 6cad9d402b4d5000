"""``python -m datasets.training_csv training_data csv_files/moco_train.csv``: lists the training images in a CSV.

The layout of ``training_data`` is that of the Re-IQA paper (section 4.1): pristine and in-the-wild images, about
740,000. ``csv_files/README.md`` draws it. Any other folder of images is listed with ``--all``. ``--shards DIR`` copies
the images into tar shards, which are faster to read on a network disk.
"""

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

from common import log
from common.atomic_files import check_not_read
from common.names import PATH_COLUMN
from common.process import run_script
from datasets.images.folders import FolderListing, scan_folder
from datasets.opinions.tables import write_csv
from datasets.training.shards import SHARD_MEGABYTES, find_shards, read_shards, write_index, write_shards
from networks.errors import UserError

N_NAMED = 5


@dataclass(frozen=True)
class Source:
    """One of the image sets: its folder below the root, the expected number of images, and which of its files count.

    A file counts if its path below the root matches ``counts``, a regular expression.
    """

    name: str
    folder: str
    expected: int
    counts: str = ""


# CERTH-Blur: TrainingSet/Naturally-Blurred and EvaluationSet/NaturalBlurSet; the other images are sharp or blurred
# digitally. VOC's other folders hold segmentation maps.
SOURCES = (
    Source("KADIS-700k, pristine", "kadis700k", 140_000, r"(?s)^(?!.*/dist_imgs/)"),
    Source("AVA", "UGC_images/AVA_Dataset", 255_530),
    Source("COCO test2015", "UGC_images/test2015", 81_434),
    Source("COCO train2017", "UGC_images/train2017", 118_287),
    Source("COCO val2017", "UGC_images/val2017", 5_000),
    Source("COCO unlabeled2017", "UGC_images/unlabeled2017", 123_403),
    Source("CERTH-Blur, natural blur", "UGC_images/blur_image", 631, r"(?i)/natural(ly)?[-_ ]?blur"),
    Source("VOC 2012", "UGC_images/VOC2012", 17_125, "/JPEGImages/"),
)


def list_training_images(root: Path, everything: bool) -> tuple[list[Path], FolderListing]:
    """Every image below ``root``, or those in the paper's layout; the listing accounts for the files left out.

    Raises UserError where there are no images.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder")
    if everything:
        listing = scan_folder(root)
        paths = list(map(Path, listing.images))
    else:
        listing, paths = FolderListing(), []
        for source in SOURCES:
            folder = root / source.folder
            part = scan_folder(folder) if folder.is_dir() else FolderListing()
            images = [
                path
                for path in map(Path, part.images)
                if re.search(source.counts, f"/{path.relative_to(root).as_posix()}")
            ]
            state = "missing" if not images else "" if len(images) >= source.expected else "incomplete"
            log.info(f"{source.name:26s} {len(images):8,d} of {source.expected:8,d}  {source.folder:30s} {state}")
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


def _write_shards(paths: list[Path], listing: FolderListing, folder: Path, megabytes: int) -> int:
    written = write_shards([os.fspath(path) for path in paths], folder, megabytes)
    for sentence in written.unreadable[:N_NAMED]:
        log.error(f"left out: {sentence}")
    failed = len(written.unreadable) + written.earlier_left_out
    account = f", {written.found:,d} of them from an earlier start" if written.found else ""
    account += f", {failed:,d} unreadable" if failed else ""
    size = f"{written.shards:,d} shards ({written.bytes / 1e6:,.1f} MB)"
    log.info(f"{written.images:,d} of {len(paths):,d} images in {size}{account}{listing.account()}: {folder}")
    return 1 if failed else 0


def _index_shards(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    paths = find_shards(folder)
    if not paths:
        raise UserError(f"{folder} holds no tar files; name a folder of images as well to make shards of them")
    n_images, n_written, listing = 0, 0, FolderListing()
    for shard, has_index in read_shards(paths):
        n_images += len(shard.members)
        listing.add(shard.left_out)
        if not has_index:
            write_index(shard)
            n_written += 1
    log.info(
        f"{n_images:,d} images in {len(paths):,d} shards, {n_written:,d} indexes written{listing.account()}: {folder}"
    )


def run(options: argparse.Namespace) -> int:
    """Returns the exit status: 1 if a folder or an image could not be read. Raises UserError for a mistake."""
    if options.csv:
        if options.csv.suffix.lower() != ".csv":
            raise UserError(f"{options.csv}: the name of the CSV to write must end in .csv")
        check_not_read("the CSV to write,", options.csv, [options.root])
    if options.root is None:
        _index_shards(options.shards)
        return 0
    if options.shards and options.root.is_file():
        from datasets.training.image_lists import read_training_csv  # imports torch, which few uses need

        listed, listing = read_training_csv(options.root), FolderListing()
        if listed.shards is not None:
            raise UserError(f"{options.root} lists shards already")
        paths = [Path(listed.path(index)) for index in range(len(listed.paths))]
    else:
        paths, listing = list_training_images(options.root, options.all)
    status = 1 if listing.unreadable else 0
    if options.csv:
        write_csv(options.csv, (PATH_COLUMN,), ([str(path)] for path in paths))
        log.info(f"{len(paths):,d} images{listing.account()}: {options.csv}")
    if options.shards:
        status = max(status, _write_shards(paths, listing, options.shards, options.shard_megabytes))
    return status


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.training_csv",
        description="Lists the training images in a CSV, or copies them into tar shards.",
    )
    add = parser.add_argument
    add("root", type=Path, nargs="?", help="folder of the training images; with --shards also a training CSV")
    add("csv", type=Path, nargs="?", help="the CSV to write; may be omitted with --shards")
    add("--all", action="store_true", help="list every image below the folder, whatever its layout")
    add(
        "--shards",
        type=Path,
        metavar="DIR",
        help="copy the images into tar shards in this folder, and continue there after an interruption; without a "
        "folder of images, write the missing indexes of the shards in DIR",
    )
    add(
        "--shard_megabytes",
        type=int,
        default=SHARD_MEGABYTES,
        metavar="MB",
        help=f"largest size of a shard (default: {SHARD_MEGABYTES})",
    )
    options = parser.parse_args()
    if options.shards is None and options.csv is None:
        parser.error("name the folder of images and the CSV to write, or --shards DIR")
    if options.shard_megabytes < 1:
        parser.error(f"--shard_megabytes {options.shard_megabytes} must be at least 1")
    log.set_script("datasets.training_csv")
    run_script(lambda: run(options), "interrupted; the same command continues" if options.shards else "interrupted")


if __name__ == "__main__":
    main()
