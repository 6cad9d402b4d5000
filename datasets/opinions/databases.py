"""The label files of image quality databases, as distributed, read into one table.

Higher is always better in the table: this module, and no other, inverts DMOS in which lower is better. A database is
read here only where its distributed form is documented, by its authors or by the files themselves; the tests hold a
small file in exactly that form for each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.opinions.label_files import (
    NAMES,
    NUMBERS,
    check_length,
    check_unique,
    read_labels,
    read_matrix,
    read_pairs,
    score_table,
)
from datasets.opinions.scores import OpinionScores
from datasets.opinions.tables import visible
from networks.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Reader = Callable[[Path], "pd.DataFrame"]


@dataclass(frozen=True)
class Database:
    """A database: its full name, its reader, and how its scores are inverted (empty where they are not)."""

    title: str
    read: Reader
    inversion: str = ""


DATABASES: dict[str, Database] = {}
"""Name on the command line -> database."""


def database(name: str, title: str, inversion: str = "") -> Callable[[Reader], Reader]:
    """Registers the reader of a database: folder -> the table of an ``OpinionScores``; higher is better.

    ``name`` is the one of --database. --help lists the names, so importing this module must not import pandas or scipy.
    """

    def register(read: Reader) -> Reader:
        DATABASES[name] = Database(title, read, inversion)
        return read

    return register


def read_database(name: str, root: str | os.PathLike) -> OpinionScores:
    """The scores of a database whose files are in ``root`` as unpacked.

    Raises UserError, naming the file, where a file is missing or differs from the distributed form.
    """
    known = DATABASES[name]
    if not Path(root).is_dir():
        raise UserError(f"--root {root} is not a folder; unpack {known.title} there")
    table = known.read(Path(root)).reset_index(drop=True)
    wrong = np.flatnonzero(~np.isfinite(table["mos"]))
    if wrong.size:
        raise UserError(f"{known.title} in {root}: the score of {table['image'].iloc[wrong[0]]} is not a number")
    return OpinionScores(table, known.title, known.inversion)


@database("koniq", "KonIQ-10k")
def _koniq(root: Path) -> pd.DataFrame:
    path = root / "koniq10k_scores_and_distributions.csv"
    scores = read_labels(path, "image_name", "MOS", std="SD", n_raters="c_total")
    sets_path = root / "koniq10k_distributions_sets.csv"
    sets = read_labels(sets_path, "image_name", "MOS", split="set")
    parts = dict(zip(sets["image"], sets["split"], strict=True))
    missing = [image for image in scores["image"] if image not in parts]
    if missing:
        raise UserError(f"label file {sets_path} lacks image {missing[0]}")
    return scores.assign(split=[parts[image] for image in scores["image"]])


@database("kadid", "KADID-10k")
def _kadid(root: Path) -> pd.DataFrame:
    """Its "dmos" is the mean of ratings of degradation: 5 is imperceptible. Its "var" is their standard deviation:
    I01_01_01.png has 4.57 and 0.496, as 17 fives and 13 fours have.
    """
    return read_labels(root / "dmos.csv", "dist_img", "dmos", group="ref_img", std="var")


@database("tid2008", "TID2008")
@database("tid2013", "TID2013")
def _tid(root: Path) -> pd.DataFrame:
    """mos_std.txt is not read: its values are those of the mean, about 0.13, not of single ratings."""
    labels = read_pairs(root / "mos_with_names.txt", image_first=False)
    return labels.assign(group=labels["image"].str.split("_").str[0].str.upper())


LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}


@database("live", "LIVE release 2", "In its DMOS lower is better; they are inverted: mos = 100 - DMOS.")
def _live(root: Path) -> pd.DataFrame:
    """The undistorted entries, which repeat the references in every folder, are left out."""
    realigned = root / "dmos_realigned.mat"
    path = realigned if realigned.exists() else root / "dmos.mat"
    dmos, undistorted = read_matrix(path, NUMBERS, "dmos_new" if path == realigned else "dmos", "orgs")
    (references,) = read_matrix(root / "refnames_all.mat", NAMES, "refnames_all")
    images = [f"{folder}/img{number}.bmp" for folder, n in LIVE_FOLDERS.items() for number in range(1, n + 1)]
    check_length(path, len(images), dmos, undistorted)
    check_length(root / "refnames_all.mat", len(images), references)
    return score_table(images, 100 - dmos.astype(np.float64), group=references)[undistorted == 0]


@database("csiq", "CSIQ", "In its DMOS lower is better; they are inverted: mos = 1 - DMOS.")
def _csiq(root: Path) -> pd.DataFrame:
    """A file name is reference.kind.level.png."""
    labels = read_pairs(root / "csiq_label.txt", image_first=True)
    return labels.assign(mos=1 - labels["mos"], group=labels["image"].str.split(".").str[0])


@database("clive", "LIVE Challenge (CLIVE)")
def _clive(root: Path) -> pd.DataFrame:
    images_path, mos_path = root / "Data" / "AllImages_release.mat", root / "Data" / "AllMOS_release.mat"
    (images,) = read_matrix(images_path, NAMES, "AllImages_release")
    (mos,) = read_matrix(mos_path, NUMBERS, "AllMOS_release")
    check_length(mos_path, len(images), mos)
    std_path, std = root / "Data" / "AllStdDev_release.mat", None
    if std_path.exists():
        (std,) = read_matrix(std_path, NUMBERS, "AllStdDev_release")
        check_length(std_path, len(images), std)
    return score_table(images, mos, std=std)[7:]  # the first seven were shown to train the observers


@database("spaq", "SPAQ")
def _spaq(root: Path) -> pd.DataFrame:
    return read_labels(root / "Annotations" / "MOS and Image attribute scores.xlsx", "Image name", "MOS")


@database("flive", "FLIVE (PaQ-2-PiQ)")
def _flive(root: Path) -> pd.DataFrame:
    """labels_image.csv has the training images and, as is_valid, the validation ones; labels640.csv the test images.

    Both have come with either pair of names.
    """
    image, mos = ("name_image", "name"), ("mos_image", "mos")
    test, rest = (
        read_labels(root / file, image, mos, others=("is_valid",)) for file in ("labels640.csv", "labels_image.csv")
    )
    rest = rest[~rest["image"].isin(test["image"])]
    is_valid = rest["is_valid"].str.strip().str.lower().isin(("true", "1", "1.0"))
    splits = [*np.where(is_valid, "validation", "train"), *["test"] * len(test)]
    return score_table([*rest["image"], *test["image"]], [*rest["mos"], *test["mos"]], split=splits)


@database("livemd", "LIVE Multiply Distorted", "In its DMOS lower is better; they are inverted: mos = 100 - DMOS.")
def _livemd(root: Path) -> pd.DataFrame:
    """Part 1 is blur followed by JPEG, part 2 blur followed by noise, of the same references."""
    images, mos, groups = [], [], []
    for part, folder in (("Part 1", "blurjpeg"), ("Part 2", "blurnoise")):
        lists, scores = root / part / "Imagelists.mat", root / part / "Scores.mat"
        files, references = read_matrix(lists, NAMES, "distimgs", "refimgs")
        (reference_of,) = read_matrix(lists, NUMBERS, "ref4dist")
        (dmos,) = read_matrix(scores, NUMBERS, "DMOSscores")
        check_length(lists, len(files), reference_of)
        check_length(scores, len(files), dmos)
        at = reference_of.astype(np.int64) - 1  # MATLAB counts from 1
        if at.min() < 0 or at.max() >= len(references):
            raise UserError(f"label file {lists}: ref4dist names references that refimgs does not hold")
        distorted = np.flatnonzero(files != references[at])
        images += [f"{part}/{folder}/{files[row]}" for row in distorted]
        mos += [100 - float(dmos[row]) for row in distorted]
        groups += [references[at[row]] for row in distorted]
    return score_table(images, mos, group=groups)


@database("pipal", "PIPAL")
def _pipal(root: Path) -> pd.DataFrame:
    """Train_Label holds a text file for each reference; the scores are Elo ratings, higher is better."""
    import pandas as pd

    folder = root / "Train_Label"
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise UserError(f"label folder {folder} does not exist, or holds no .txt")
    labels = pd.concat([read_pairs(file, image_first=True, separator=",") for file in files])
    check_unique(labels["image"], f"label folder {folder}")
    return labels.assign(group=labels["image"].str.split("_").str[0])


@database("cid2013", "CID2013")
def _cid2013(root: Path) -> pd.DataFrame:
    """Its realigned scores put the six image sets on one scale. The group is the cluster of scenes, C01 to C08, which
    the sets repeat.
    """
    path = root / "CID2013 data - version 12112014.xlsx"
    labels = read_labels(path, "Source_ID", "Realigned MOS", sheet="CID2013 MOS")
    wrong = labels["image"][labels["image"].str.count("_") != 3]
    if len(wrong):
        raise UserError(f"label file {path}, line {wrong.index[0]}: {visible(wrong.iloc[0])} is no Source_ID")
    return labels.assign(image=labels["image"] + ".jpg", group=labels["image"].str.split("_").str[2])


@database("agiqa1k", "AGIQA-1K")
def _agiqa1k(root: Path) -> pd.DataFrame:
    """Images of one prompt, from any model, are one group."""
    return read_labels(root / "AIGC_MOS_Zscore.xlsx", "Image", "MOS", group="Prompt")


@database("agiqa3k", "AGIQA-3K")
def _agiqa3k(root: Path) -> pd.DataFrame:
    """Images of one prompt, from any model, are one group. Perceptual quality is read, not alignment to the prompt."""
    return read_labels(root / "data.csv", "name", "mos_quality", group="prompt", std="std_quality")


@database("uhdiqa", "UHD-IQA")
def _uhdiqa(root: Path) -> pd.DataFrame:
    return read_labels(root / "uhd-iqa-metadata.csv", "image_name", "quality_mos", split="set")


@database("piq23", "PIQ23 (overall quality)")
def _piq23(root: Path) -> pd.DataFrame:
    """The scores are just objectionable differences (JOD) within a scene; the scene is the group. Its "JOD STD" is not
    read: it is that of the estimate, not of single ratings.
    """
    return read_labels(root / "Scores_Overall.csv", "IMAGE PATH", "JOD", group="SCENE")


@database("bid", "BID")
def _bid(root: Path) -> pd.DataFrame:
    """The workbook numbers the images. Its "std" is not read: that of the ratings or of the mean, no document says."""
    path = root / "DatabaseGrades.xlsx"
    labels = read_labels(path, "Image Number", "Average Subjective Grade")
    wrong = labels["image"][~labels["image"].str.fullmatch("[0-9]{1,4}")]
    if len(wrong):
        raise UserError(f"label file {path}, line {wrong.index[0]}: {visible(wrong.iloc[0])} is no number of an image")
    return labels.assign(image="DatabaseImage" + labels["image"].str.zfill(4) + ".JPG")


@database("biq2021", "BIQ2021")
def _biq2021(root: Path) -> pd.DataFrame:
    """Scores are means of 30 observers, from 0 to 1. One photograph's ending is .JPG, and .jpg in the table."""
    paths = [root / f"{part} (Images and MOS).csv" for part in ("Train", "Test")]
    train, test = (read_labels(path, "Image Name", "MOS") for path in paths)
    images, folder = [*train["image"], *test["image"]], root / "Images"
    if folder.is_dir():
        names = {path.name.lower(): path.name for path in folder.iterdir()}
        missing = [image for image in images if image.lower() not in names]
        if missing:
            raise UserError(f"{folder} lacks {len(missing):,d} photographs of the database; one is {missing[0]}")
        images = [names[image.lower()] for image in images]
    return score_table(images, [*train["mos"], *test["mos"]], split=["train"] * len(train) + ["test"] * len(test))
