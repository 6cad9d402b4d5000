"""The label files of image quality databases, as distributed, read into one table.

Higher is always better in the table: this module, and no other, inverts DMOS in which lower is better. A database is
read here only where its distributed form is documented, by its authors or by the files themselves; the tests hold a
small file in exactly that form for each.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import scipy.io

from common.errors import UserError
from datasets.opinions.scores import (
    SPLIT_NAMES,
    OpinionScores,
    check_unique,
    read_numbers,
    read_spread,
    score_table,
    with_identical_grouped,
)
from datasets.opinions.tables import ENCODING, ENCODING_ERRORS, listed, read_csv, visible

Reader = Callable[[Path], pd.DataFrame]


@dataclass(frozen=True)
class Database:
    """A database: its full name, its reader, and how its scores are inverted (empty where they are not).

    With ``has_copies`` some of its files are byte-identical to others; these are put into one group.
    """

    title: str
    read: Reader
    inversion: str = ""
    has_copies: bool = False


DATABASES: dict[str, Database] = {}
"""Name on the command line -> database."""


def _database(name: str, title: str, inversion: str = "", has_copies: bool = False) -> Callable[[Reader], Reader]:
    def register(read: Reader) -> Reader:
        DATABASES[name] = Database(title, read, inversion, has_copies)
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
    scores = OpinionScores(table, database.title, database.inversion)
    return with_identical_grouped(scores, file_digests(Path(root), scores.images)) if database.has_copies else scores


def file_digests(root: Path, images: Iterable[str]) -> list[str | None]:
    """The SHA-256 of each image that has the size of another one, None for the rest and for files that are not found.

    The files are looked for anywhere below ``root``, by their names without folders. Files of different sizes differ,
    so that few have to be read.
    """
    paths = {path.name: path for path in sorted(root.rglob("*")) if path.is_file()}
    found = [paths.get(PurePosixPath(image).name) for image in images]
    sizes = [path.stat().st_size if path else -1 for path in found]
    of_size: dict[int, int] = defaultdict(int)
    for size in sizes:
        of_size[size] += 1
    return [
        hashlib.sha256(path.read_bytes()).hexdigest() if path and of_size[size] > 1 else None
        for path, size in zip(found, sizes, strict=True)
    ]


@dataclass(frozen=True)
class _Columns:
    """What the columns of a label file are called; ``others`` must be there too, ``std`` and ``n_raters`` may be."""

    image: str
    mos: str
    others: tuple[str, ...] = ()
    std: str = ""
    n_raters: str = ""


def _labels(path: Path, columns: _Columns, sheet: str | None = None) -> pd.DataFrame:
    """The columns image, mos, std and n_raters (NaN where they are not there) of a label file, and ``others``."""
    where = f"label file {path}"
    spread = tuple(filter(None, (columns.std, columns.n_raters)))
    table = read_csv(
        path,
        (columns.image,),
        "label file",
        optional=columns.others,
        numbers=(columns.mos, *spread),
        sheet=sheet,
    )
    for column in (columns.mos, *columns.others):
        if column not in table:
            raise UserError(f"{where} has no column '{column}'; its columns are: {listed(table)}")
    check_unique(table[columns.image], where)
    labels = table[list(columns.others)].copy()
    labels["image"] = table[columns.image]
    labels["mos"] = read_numbers(table[columns.mos], where)
    labels["std"] = read_spread(table[columns.std], where, "std") if columns.std in table else np.nan
    labels["n_raters"] = (
        read_spread(table[columns.n_raters], where, "n_raters") if columns.n_raters in table else np.nan
    )
    return labels


def _pairs(path: Path, image_first: bool, separator: str | None = None) -> pd.DataFrame:
    """A text file with an image and a score on every line, apart from blank lines; indexed by line.

    They are separated by ``separator``, or by blanks where it is None.
    """
    rows, lines = [], []
    try:
        with open(path, encoding=ENCODING, errors=ENCODING_ERRORS) as file:
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                parts = [part.strip() for part in text.split(separator)]
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
    table = pd.DataFrame(rows, columns=["image", "mos"], index=lines)
    check_unique(table["image"], f"label file {path}")
    return table.assign(mos=read_numbers(table["mos"], f"label file {path}"))


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
    return np.array([_text(cell) for cell in cells.ravel()])


def _text(cell: np.ndarray) -> str:
    """The text in a cell; some databases put a cell into a cell."""
    while isinstance(cell, np.ndarray):
        cell = cell.ravel()[0]
    return str(cell)


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
    scores = _labels(
        root / "koniq10k_scores_and_distributions.csv",
        _Columns("image_name", "MOS", std="SD", n_raters="c_total"),
    )
    sets_path = root / "koniq10k_distributions_sets.csv"
    sets = _labels(sets_path, _Columns("image_name", "MOS", ("set",))).set_index("image")["set"]
    missing = scores[~scores["image"].isin(sets.index)]
    if len(missing):
        raise UserError(f"label file {sets_path} lacks image {missing['image'].iloc[0]}")
    return score_table(
        scores["image"],
        scores["mos"],
        splits=_splits(scores["image"].map(sets), sets_path),
        std=scores["std"],
        n_raters=scores["n_raters"],
    )


def _splits(sets: pd.Series, path: Path) -> list[str]:
    """The parts of an official split, as this project calls them."""
    names = sets.str.strip().str.lower()
    unknown = sets[~names.isin(SPLIT_NAMES)]
    if len(unknown):
        raise UserError(f"label file {path}: set {unknown.iloc[0]!r} is not training, validation or test")
    return [SPLIT_NAMES[name] for name in names]


KADID_KINDS = (
    "Gaussian blur", "lens blur", "motion blur", "color diffusion", "color shift", "color quantization",
    "color saturation 1", "color saturation 2", "JPEG2000", "JPEG", "white noise", "white noise in color component",
    "impulse noise", "multiplicative noise", "denoise", "brighten", "darken", "mean shift", "jitter",
    "non-eccentricity patch", "pixelate", "quantization", "color block", "high sharpen", "contrast change",
)  # fmt: skip
"""Kinds 1 to 25 of KADID-10k (Lin, Hosu, Saupe, QoMEX 2019)."""

TID_KINDS = (
    "additive Gaussian noise", "noise in color components", "spatially correlated noise", "masked noise",
    "high frequency noise", "impulse noise", "quantization noise", "Gaussian blur", "image denoising",
    "JPEG", "JPEG2000", "JPEG transmission errors", "JPEG2000 transmission errors",
    "non eccentricity pattern noise", "local block-wise distortions", "mean shift", "contrast change",
    "change of color saturation", "multiplicative Gaussian noise", "comfort noise",
    "lossy compression of noisy images", "color quantization with dither", "chromatic aberrations",
    "sparse sampling and reconstruction",
)  # fmt: skip
"""Kinds 1 to 24 of TID2013 (Ponomarenko et al., Signal Process. Image Commun. 30, 2015); TID2008 has the first 17."""


@_database("kadid", "KADID-10k")
def _kadid(root: Path) -> pd.DataFrame:
    """Its "dmos" is the mean of degradation category ratings: 5 is imperceptible.

    Its "var" is their standard deviation, not their variance: I01_01_01.png has 4.57 and 0.496, and of 30 ratings from
    1 to 5, 17 fives and 13 fours have just these.
    """
    labels = _labels(root / "dmos.csv", _Columns("dist_img", "dmos", ("ref_img",), std="var"))
    kinds, levels = _kinds_and_levels(labels["image"], KADID_KINDS, root / "dmos.csv")
    return score_table(
        labels["image"], labels["mos"], groups=labels["ref_img"], std=labels["std"], kinds=kinds, levels=levels
    )


def _kinds_and_levels(images: Iterable[str], names: tuple[str, ...], path: Path) -> tuple[list[str], list[str]]:
    """The kind and the level in file names of the form I01_02_3.bmp: reference, number of the kind, level.

    A kind is its number in two digits, so that kinds sort as in the database, and its name from ``names``.
    """
    kinds, levels = [], []
    for image in images:
        found = _KIND_AND_LEVEL.fullmatch(image)
        if found is None or not 1 <= int(found[1]) <= len(names):
            raise UserError(f"label file {path}: {visible(image)} does not name a kind of distortion and a level")
        kinds.append(f"{int(found[1]):02d} {names[int(found[1]) - 1]}")
        levels.append(str(int(found[2])))
    return kinds, levels


_KIND_AND_LEVEL = re.compile(r"[iI]\d+_(\d+)_(\d+)\.\w+", re.ASCII)


@_database("tid2013", "TID2013")
@_database("tid2008", "TID2008")
def _tid(root: Path) -> pd.DataFrame:
    """mos_std.txt is not read: its values are those of the mean, about 0.13, not of single ratings."""
    path = root / "mos_with_names.txt"
    labels = _pairs(path, image_first=False)
    groups = [name.split("_")[0].upper() for name in labels["image"]]
    kinds, levels = _kinds_and_levels(labels["image"], TID_KINDS, path)
    return score_table(labels["image"], labels["mos"], groups=groups, kinds=kinds, levels=levels)


LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}


@_database("live", "LIVE release 2", "In its DMOS lower is better; they are inverted: mos = 100 - DMOS.")
def _live(root: Path) -> pd.DataFrame:
    """The undistorted entries, which repeat the references in every folder, are left out. There are no levels."""
    realigned = root / "dmos_realigned.mat"
    path = realigned if realigned.exists() else root / "dmos.mat"
    dmos, undistorted = _matrix(path, "dmos_new" if path == realigned else "dmos", "orgs")
    (references,) = _matrix(root / "refnames_all.mat", "refnames_all")
    _check_kinds(path, "fiu", dmos, undistorted)
    _check_kinds(root / "refnames_all.mat", "U", references)
    images = [f"{folder}/img{number}.bmp" for folder, n in LIVE_FOLDERS.items() for number in range(1, n + 1)]
    _same_length(path, len(images), dmos, undistorted)
    _same_length(root / "refnames_all.mat", len(images), references)
    kinds = [image.split("/")[0] for image in images]
    table = score_table(images, 100 - dmos.astype(np.float64), groups=references, kinds=kinds)
    return table[undistorted == 0].reset_index(drop=True)


@_database("csiq", "CSIQ", "In its DMOS lower is better; they are inverted: mos = 1 - DMOS.")
def _csiq(root: Path) -> pd.DataFrame:
    """A file name is reference.kind.level.png."""
    path = root / "csiq_label.txt"
    labels = _pairs(path, image_first=True)
    parts = [name.split(".") for name in labels["image"]]
    for image, of_image in zip(labels["image"], parts, strict=True):
        if len(of_image) != 4:
            raise UserError(f"label file {path}: {visible(image)} does not name a reference, a kind and a level")
    groups, kinds, levels, _ = map(list, zip(*parts, strict=True))
    return score_table(labels["image"], 1 - labels["mos"], groups=groups, kinds=kinds, levels=levels)


CLIVE_TRAINING_IMAGES = 7
"""The first entries were shown to train the observers."""


@_database("clive", "LIVE Challenge (CLIVE)")
def _clive(root: Path) -> pd.DataFrame:
    images_path, mos_path = root / "Data" / "AllImages_release.mat", root / "Data" / "AllMOS_release.mat"
    (images,) = _matrix(images_path, "AllImages_release")
    (mos,) = _matrix(mos_path, "AllMOS_release")
    std_path = root / "Data" / "AllStdDev_release.mat"
    std = _matrix(std_path, "AllStdDev_release")[0] if std_path.exists() else np.full(len(mos), np.nan)
    _check_kinds(images_path, "U", images)
    _check_kinds(mos_path, "fiu", mos)
    _check_kinds(std_path, "fiu", std)
    _same_length(mos_path, len(images), mos)
    _same_length(std_path, len(images), std)
    rated = slice(CLIVE_TRAINING_IMAGES, None)
    return score_table(images[rated], mos[rated], std=std[rated])


@_database("spaq", "SPAQ")
def _spaq(root: Path) -> pd.DataFrame:
    path = root / "Annotations" / "MOS and Image attribute scores.xlsx"
    labels = _labels(path, _Columns("Image name", "MOS"))
    return score_table(labels["image"], labels["mos"])


@_database("flive", "FLIVE (PaQ-2-PiQ)")
def _flive(root: Path) -> pd.DataFrame:
    """labels_image.csv has the training images and, as is_valid, the validation ones; labels640.csv the test images."""
    test, rest = (_flive_labels(root / file) for file in ("labels640.csv", "labels_image.csv"))
    rest = rest[~rest["image"].isin(test["image"])]
    is_valid = rest["is_valid"].str.strip().str.lower().isin(("true", "1", "1.0"))
    splits = [*np.where(is_valid, "validation", "train"), *["test"] * len(test)]
    return score_table([*rest["image"], *test["image"]], [*rest["mos"], *test["mos"]], splits=splits)


def _flive_labels(path: Path) -> pd.DataFrame:
    """Both of its files have come with either pair of names."""
    try:
        return _labels(path, _Columns("name_image", "mos_image", ("is_valid",)))
    except UserError as error:
        if "no column 'name_image'" not in str(error):
            raise
    return _labels(path, _Columns("name", "mos", ("is_valid",)))


_HIGHEST_DMOS = 100


@_database("livemd", "LIVE Multiply Distorted", "In its DMOS lower is better; they are inverted: mos = 100 - DMOS.")
def _livemd(root: Path) -> pd.DataFrame:
    """Part 1 is blur followed by JPEG, part 2 blur followed by noise, of the same references.

    A name such as iceskater_blur2_jpeg0.bmp gives the level of both; 0 means that it was not applied. An image has two
    levels, so none is read.
    """
    tables = []
    for part, folder in (("Part 1", "blurjpeg"), ("Part 2", "blurnoise")):
        lists, scores = root / part / "Imagelists.mat", root / part / "Scores.mat"
        images, references, reference_of = _matrix(lists, "distimgs", "refimgs", "ref4dist")
        (dmos,) = _matrix(scores, "DMOSscores")
        _check_kinds(lists, "U", images, references)
        _check_kinds(lists, "fiu", reference_of)
        _check_kinds(scores, "fiu", dmos)
        _same_length(lists, len(images), reference_of)
        _same_length(scores, len(images), dmos)
        at = reference_of.astype(np.int64) - 1  # MATLAB counts from 1
        if at.min() < 0 or at.max() >= len(references):
            raise UserError(f"label file {lists}: ref4dist names references that refimgs does not hold")
        paths = [f"{part}/{folder}/{image}" for image in images]
        kinds = [_livemd_kind(image) for image in images]
        table = score_table(paths, _HIGHEST_DMOS - dmos.astype(np.float64), groups=references[at], kinds=kinds)
        tables.append(table[images != references[at]])
    return pd.concat(tables, ignore_index=True)


def _livemd_kind(image: str) -> str | None:
    """For example "blur" or "blur and jpeg"; None for a file name in another form."""
    found = re.fullmatch(r".*_(blur)(\d)_(jpeg|noise)(\d)\.\w+", image, re.ASCII)
    if found is None:
        return None
    return " and ".join(name for name, level in (found.group(1, 2), found.group(3, 4)) if level != "0") or None


@_database("pipal", "PIPAL")
def _pipal(root: Path) -> pd.DataFrame:
    """Train_Label holds a text file for each reference; the scores are Elo ratings, higher is better."""
    folder = root / "Train_Label"
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise UserError(f"label folder {folder} does not exist, or holds no .txt")
    labels = pd.concat([_pairs(file, image_first=True, separator=",") for file in files])
    check_unique(labels["image"], f"label folder {folder}")
    groups = [name.split("_")[0] for name in labels["image"]]
    return score_table(labels["image"], labels["mos"], groups=groups)


@_database("cid2013", "CID2013")
def _cid2013(root: Path) -> pd.DataFrame:
    """Its realigned scores put the six image sets on one scale. The group is the scene's cluster, C01 to C08.

    Sets repeat the kind of scene of a cluster, so that a cluster is never parted, also not across sets.
    """
    labels = _labels(
        root / "CID2013 data - version 12112014.xlsx",
        _Columns("Source_ID", "Realigned MOS"),
        sheet="CID2013 MOS",
    )
    wrong = labels["image"][labels["image"].str.count("_") != 3]
    if len(wrong):
        raise UserError(f"label file of {root}, line {wrong.index[0]}: {visible(wrong.iloc[0])} is no Source_ID")
    clusters = [source.split("_")[2] for source in labels["image"]]
    return score_table(labels["image"] + ".jpg", labels["mos"], groups=clusters)


@_database("agiqa1k", "AGIQA-1K", has_copies=True)
def _agiqa1k(root: Path) -> pd.DataFrame:
    """Images of one prompt, from any model, are one group."""
    labels = _labels(root / "AIGC_MOS_Zscore.xlsx", _Columns("Image", "MOS", ("Prompt",)))
    return score_table(labels["image"], labels["mos"], groups=labels["Prompt"].str.strip())


@_database("agiqa3k", "AGIQA-3K", has_copies=True)
def _agiqa3k(root: Path) -> pd.DataFrame:
    """Images of one prompt, from any model, are one group. Perceptual quality is read, not alignment to the prompt."""
    labels = _labels(root / "data.csv", _Columns("name", "mos_quality", ("prompt",), std="std_quality"))
    return score_table(labels["image"], labels["mos"], groups=labels["prompt"].str.strip(), std=labels["std"])


@_database("uhdiqa", "UHD-IQA")
def _uhdiqa(root: Path) -> pd.DataFrame:
    path = root / "uhd-iqa-metadata.csv"
    labels = _labels(path, _Columns("image_name", "quality_mos", ("set",)))
    return score_table(labels["image"], labels["mos"], splits=_splits(labels["set"], path))


@_database("piq23", "PIQ23 (overall quality)")
def _piq23(root: Path) -> pd.DataFrame:
    """The scores are just objectionable differences (JOD) within a scene; the scene is the group.

    Its "JOD STD" is not read: it is that of the estimate, not of single ratings.
    """
    labels = _labels(root / "Scores_Overall.csv", _Columns("IMAGE PATH", "JOD", ("SCENE",)))
    return score_table(labels["image"], labels["mos"], groups=labels["SCENE"].str.strip())


@_database("bid", "BID")
def _bid(root: Path) -> pd.DataFrame:
    """The workbook has the number of each image in place of its name. Its column "std" is not read: no document says
    whether the column holds the deviation of the ratings or of their mean.
    """
    path = root / "DatabaseGrades.xlsx"
    labels = _labels(path, _Columns("Image Number", "Average Subjective Grade"))
    wrong = labels["image"][~labels["image"].str.fullmatch("[0-9]{1,4}")]
    if len(wrong):
        raise UserError(f"label file {path}, line {wrong.index[0]}: {visible(wrong.iloc[0])} is no number of an image")
    return score_table("DatabaseImage" + labels["image"].str.zfill(4) + ".JPG", labels["mos"])
