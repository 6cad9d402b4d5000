"""Lists of scores: which images they hold, in which order, on the terminal, and as a table or a list of paths."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import log
from common.atomic_files import whole_file
from datasets.images.lists import ImageListing, ListedImage
from datasets.opinions.tables import write_csv, write_workbook
from learning.regression.model.meaning import Column
from options.images import PredictionOptions

LONGEST_TABLE = 40
"""Largest number of rows in the terminal. Of a longer table, only the best and the worst rows are shown."""

Rows = Sequence[tuple[str, ListedImage]]
"""What lists call an image, and the image. An image without a score has failed."""


def select_rows(listing: ImageListing, scores: Mapping[str, float], options: PredictionOptions) -> tuple[Rows, str]:
    """The rows of the input; or those of --best, --worst or --threshold, in this order, and a sentence on them.

    A selected image is there once, by the path that opens from the current folder. ``scores`` are by its name.
    """
    if not options.selects:
        return listing.rows, ""
    images = [image for image in listing.images if image.name in scores]
    images.sort(key=lambda image: scores[image.name], reverse=options.best is not None)
    if options.threshold is not None:
        chosen = [image for image in images if scores[image.name] < options.threshold]
        sentence = f"{len(chosen):,d} of {len(images):,d} images score below {options.threshold:g}"
    else:
        chosen = images[: options.n_selected(len(images))]
        sentence = f"the {len(chosen):,d} {'best' if options.best else 'worst'} of {len(images):,d} images"
    return [(image.path, image) for image in chosen], sentence


def print_scores(rows: Rows, scores: Mapping[str, float], columns: Sequence[Column], selection: str) -> None:
    """Prints a table of images and scores; of a long one that is no selection, only the best and the worst rows."""
    shown = [(given, scores[image.name]) for given, image in rows if image.name in scores]
    half, cut = LONGEST_TABLE // 2, len(shown) > LONGEST_TABLE and not selection
    if cut:
        selection = f"the best and the worst {half} of {len(shown):,d} images"
        shown.sort(key=lambda row: -row[1])
        shown = shown[:half] + shown[-half:]
    if selection:
        log.info(selection)
    texts = [[format(column.of(score), column.format) for column in columns] + [given] for given, score in shown]
    header = [f"{column.name:>{len(format(0, column.format))}}" for column in columns] + ["image"]
    if cut:
        texts.insert(half, [" ..."])
    for row in [header, *texts]:
        log.info("  ".join(row))


def write_scores(path: Path, rows: Rows, scores: Mapping[str, float], columns: Sequence[Column]) -> None:
    """Writes a table (.csv, .xlsx) of images and the columns of their scores, or a list (.txt) of paths that open."""
    if path.suffix.lower() == ".txt":
        paths = [os.fsencode(image.path) for _, image in rows if image.name in scores]
        # A line break in a name would end the path; ``paths_in_list`` reads both forms.
        end = b"\0" if any(b"\n" in one or b"\r" in one for one in paths) else b"\n"
        with whole_file(path) as temporary:
            temporary.write_bytes(b"".join(one + end for one in paths))
        return
    cells = [
        [given, *(column.of(scores[image.name]) if image.name in scores else "" for column in columns)]
        for given, image in rows
    ]
    names = ["image", *(column.name for column in columns)]
    if path.suffix.lower() == ".xlsx":
        write_workbook(path, names, cells)
        return
    # Without a byte order mark, Excel reads names in an older encoding.
    texts = [[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in cells]
    write_csv(path, names, texts, "utf-8" if all(given.isascii() for given, _ in rows) else "utf-8-sig")
