"""The label files of image quality databases, as distributed, read into one table.

Higher is always better in the table: this module, and no other, inverts the DMOS of LIVE and CSIQ.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

from common.errors import UserError
from datasets.opinion_scores import SPLIT_NAMES, OpinionScores, check_unique, read_numbers, score_table
from datasets.tables import ENCODING, ENCODING_ERRORS, read_csv

Reader = Callable[[Path], pd.DataFrame]


@dataclass(frozen=True)
class Database:
    """A database: its full name, its reader, and how its scores are inverted (empty where they are not)."""

    title: str
    read: Reader
    inversion: str = ""


DATABASES: dict[str, Database] = {}
"""Name on the command line -> database."""


def _database(name: str, title: str, inversion: str = "") -> Callable[[Reader], Reader]:
    def register(read: Reader) -> Reader:
        DATABASES[name] = Database(title, read, inversion)
        return read

    return register


def read_database(name: str, root: str | os.PathLike) -> OpinionScores:
    """The scores of a database whose files are in ``root`` as unpacked.

    Raises UserError, naming the file, where a file is missing or differs from the distributed form.
    """
    database = DATABASES[name]
    if not Path(root).is_dir():
        raise UserError(f"--root {root} is not a folder; unpack {database.title} there")
    table = database.read(Path(root))
    wrong = np.flatnonzero(~np.isfinite(table["mos"]))
    if wrong.size:
        raise UserError(f"{database.title} in {root}: the score of {table['image'].iloc[wrong[0]]} is not a number")
    return OpinionScores(table, database.title, database.inversion)


def _labels(root: Path, file: str, image: str, mos: str, *others: str) -> pd.DataFrame:
    """A label file with its columns ``image`` and ``mos`` under these names, as in ``_checked``."""
    path = root / file
    return _checked(read_csv(path, (image,), "label file"), path, image, mos, *others)


def _checked(table: pd.DataFrame, path: Path, image: str, mos: str, *others: str) -> pd.DataFrame:
    """The table with numbers as mos; UserError where a column is missing or an image is listed twice."""
    for column in (image, mos, *others):
        if column not in table:
            raise UserError(
                f"label file {path} has no column '{column}'; its columns are: {', '.join(map(str, table))}"
            )
    table = table.rename(columns={image: "image", mos: "mos"})
    check_unique(table["image"], f"label file {path}")
    return table.assign(mos=read_numbers(table["mos"], f"label file {path}"))


def _pairs(path: Path, image_first: bool) -> pd.DataFrame:
    """A text file with an image and a score on every line, apart from blank ones; indexed by line."""
    rows, lines = [], []
    try:
        with open(path, encoding=ENCODING, errors=ENCODING_ERRORS) as file:
            for line, text in enumerate(file, start=1):
                parts = text.split()
                if not parts:
                    continue
                if len(parts) != 2:
                    raise UserError(f"label file {path}, line {line}: {text.strip()!r} is not an image and a score")
                rows.append(parts if image_first else parts[::-1])
                lines.append(line)
    except FileNotFoundError:
        raise UserError(f"label file {path} does not exist") from None
    except OSError as error:
        raise UserError(f"label file {path} cannot be read: {error.strerror}") from None
    if not rows:
        raise UserError(f"label file {path} lists no images")
    return _checked(pd.DataFrame(rows, columns=["image", "mos"], index=lines), path, "image", "mos")


def _matrix(path: Path, *names: str) -> list[np.ndarray]:
    """Variables of a MATLAB file, flattened; cells of text become arrays of str."""
    try:
        with open(path, "rb") as file:
            content = scipy.io.loadmat(file, variable_names=names)
    except FileNotFoundError:
        raise UserError(f"label file {path} does not exist") from None
    except Exception as error:  # damaged files raise errors of many kinds in scipy's reader
        raise UserError(f"label file {path} is not a MATLAB file, or is damaged: {error}") from None
    missing = [name for name in names if name not in content]
    if missing:
        raise UserError(f"label file {path} holds no variable {missing[0]}")
    try:
        return [_texts(content[name]) if content[name].dtype == object else content[name].ravel() for name in names]
    except (IndexError, AttributeError):
        raise UserError(
            f"label file {path}: {' or '.join(names)} differs from the form that the database distributes"
        ) from None


def _texts(cells: np.ndarray) -> np.ndarray:
    return np.array([str(cell[0]) for cell in cells.ravel()])


def _check_kinds(path: Path, kind: str, *values: np.ndarray) -> None:
    """UserError where a variable is not of numpy's ``kind``: "U" for names, "fiu" for numbers."""
    for value in values:
        if value.dtype.kind not in kind:
            raise UserError(f"label file {path} holds {'names' if kind != 'U' else 'numbers'} in the wrong variable")


def _same_length(path: Path, expected: int, *values: np.ndarray) -> None:
    for value in values:
        if len(value) != expected:
            raise UserError(f"label file {path} holds {len(value)} entries where {expected} belong")


@_database("koniq", "KonIQ-10k")
def _koniq(root: Path) -> pd.DataFrame:
    scores = _labels(root, "koniq10k_scores_and_distributions.csv", "image_name", "MOS")
    sets_path = root / "koniq10k_distributions_sets.csv"
    sets = _labels(root, sets_path.name, "image_name", "MOS", "set").set_index("image")["set"]
    missing = scores[~scores["image"].isin(sets.index)]
    if len(missing):
        raise UserError(f"label file {sets_path} lacks image {missing['image'].iloc[0]}")
    splits = scores["image"].map(sets)
    unknown = splits[~splits.isin(SPLIT_NAMES)]
    if len(unknown):
        raise UserError(f"label file {sets_path}: set {unknown.iloc[0]!r} is not training, validation or test")
    return score_table(scores["image"], scores["mos"], splits=splits.map(SPLIT_NAMES))


@_database("kadid", "KADID-10k")
def _kadid(root: Path) -> pd.DataFrame:
    # Its "dmos" is the mean of degradation category ratings: 5 is imperceptible.
    labels = _labels(root, "dmos.csv", "dist_img", "dmos", "ref_img")
    return score_table(labels["image"], labels["mos"], groups=labels["ref_img"])


@_database("tid2013", "TID2013")
def _tid2013(root: Path) -> pd.DataFrame:
    labels = _pairs(root / "mos_with_names.txt", image_first=False)
    groups = [name.split("_")[0].upper() for name in labels["image"]]
    return score_table(labels["image"], labels["mos"], groups=groups)


LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}


@_database("live", "LIVE release 2", "In its DMOS lower is better; they are inverted: mos = 100 - DMOS.")
def _live(root: Path) -> pd.DataFrame:
    """The undistorted entries, which repeat the references in every folder, are left out."""
    realigned = root / "dmos_realigned.mat"
    path = realigned if realigned.exists() else root / "dmos.mat"
    dmos, undistorted = _matrix(path, "dmos_new" if path == realigned else "dmos", "orgs")
    (references,) = _matrix(root / "refnames_all.mat", "refnames_all")
    _check_kinds(path, "fiu", dmos, undistorted)
    _check_kinds(root / "refnames_all.mat", "U", references)
    images = [f"{folder}/img{number}.bmp" for folder, n in LIVE_FOLDERS.items() for number in range(1, n + 1)]
    _same_length(path, len(images), dmos, undistorted)
    _same_length(root / "refnames_all.mat", len(images), references)
    table = score_table(images, 100 - dmos.astype(np.float64), groups=references)
    return table[undistorted == 0].reset_index(drop=True)


@_database("csiq", "CSIQ", "In its DMOS lower is better; they are inverted: mos = 1 - DMOS.")
def _csiq(root: Path) -> pd.DataFrame:
    labels = _pairs(root / "csiq_label.txt", image_first=True)
    groups = [name.split(".")[0] for name in labels["image"]]
    return score_table(labels["image"], 1 - labels["mos"], groups=groups)


CLIVE_TRAINING_IMAGES = 7
"""The first entries were shown to train the observers."""


@_database("clive", "LIVE Challenge (CLIVE)")
def _clive(root: Path) -> pd.DataFrame:
    images_path, mos_path = root / "Data" / "AllImages_release.mat", root / "Data" / "AllMOS_release.mat"
    (images,) = _matrix(images_path, "AllImages_release")
    (mos,) = _matrix(mos_path, "AllMOS_release")
    _check_kinds(images_path, "U", images)
    _check_kinds(mos_path, "fiu", mos)
    _same_length(mos_path, len(images), mos)
    return score_table(images[CLIVE_TRAINING_IMAGES:], mos[CLIVE_TRAINING_IMAGES:])


@_database("spaq", "SPAQ")
def _spaq(root: Path) -> pd.DataFrame:
    path = root / "Annotations" / "MOS and Image attribute scores.xlsx"
    try:
        table = pd.read_excel(path, engine="openpyxl")
    except FileNotFoundError:
        raise UserError(f"label file {path} does not exist") from None
    except Exception as error:  # damaged files raise errors of many kinds in openpyxl
        raise UserError(f"label file {path} is not an Excel file, or is damaged: {error}") from None
    table.index += 2  # as a spreadsheet counts
    labels = _checked(table, path, "Image name", "MOS")
    return score_table(labels["image"], labels["mos"])


@_database("flive", "FLIVE (PaQ-2-PiQ)")
def _flive(root: Path) -> pd.DataFrame:
    """labels_image.csv has the training images and, as is_valid, the validation ones; labels640.csv the test images."""
    parts = []
    for file in ("labels640.csv", "labels_image.csv"):
        # Both files have come with either pair of names.
        columns = read_csv(root / file, ("name_image", "name"), "label file").columns
        image, mos = ("name_image", "mos_image") if "name_image" in columns else ("name", "mos")
        parts.append(_labels(root, file, image, mos, "is_valid"))
    test, rest = parts
    rest = rest[~rest["image"].isin(test["image"])]
    is_valid = rest["is_valid"].str.strip().str.lower().isin(("true", "1", "1.0"))
    splits = [*np.where(is_valid, "validation", "train"), *["test"] * len(test)]
    return score_table([*rest["image"], *test["image"]], [*rest["mos"], *test["mos"]], splits=splits)
