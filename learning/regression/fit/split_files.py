"""Splits in files, ours and those of other projects, so that results can be compared with published ones.

Two forms:

- A CSV in the form of pyiqa's meta-information: a row for each image (``img_name`` or ``dist_name``, or our ``image``)
  and the columns ``official_split`` or ``ratio802_seed123_split_01``, ..., with train, val and test. Where a column
  holds no test, as in ratio802 (80/0/20), its val is the test part, and an eighth of the training groups is taken as
  the validation part.
- A folder with ``train.npy``, ``val.npy`` and ``test.npy``: integers (splits, images of the part), positions in the
  table of scores. ARNIQA keeps its splits as arrays of indices; their order of images is not documented, so results
  are comparable only where the table has the same order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from common.atomic_files import write_array
from common.errors import UserError
from datasets.images.lists import match_names
from datasets.opinions.scores import SPLIT_NAMES, OpinionScores
from datasets.opinions.tables import IMAGE, read_csv, write_csv
from learning.regression.fit.splits import Split, checked

IMAGE_COLUMNS = ("image", "img_name", "dist_name", "image_name")
SPLIT_COLUMN = re.compile(r"official_split|.*_split_\d+")
FILES = {"train": "train.npy", "validation": "val.npy", "test": "test.npy"}
VALIDATION_SHARE = 1 / 8


def read_splits(path: Path, scores: OpinionScores) -> list[Split]:
    """The splits in ``path``, as positions in ``scores``; UserError, naming an image, where they do not fit."""
    if path.is_dir():
        splits = _read_arrays(path, scores)
    elif path.suffix.lower() == ".csv":
        splits = _read_meta_csv(path, scores)
    else:
        raise UserError(f"--splits {path}: a CSV, or a folder with {', '.join(FILES.values())}, is expected")
    groups = np.arange(len(scores)) if scores.groups is None else scores.groups
    for number, split in enumerate(splits, start=1):
        learnt = set(groups[split.train_and_validation])
        torn = [row for row in split.test if groups[row] in learnt]
        if torn:
            raise UserError(
                f"splits {path}: in split {number}, image {scores.images[torn[0]]} is in the test part, and others of "
                f"its group {groups[torn[0]]} are not"
            )
    return checked(splits)


def _read_meta_csv(path: Path, scores: OpinionScores) -> list[Split]:
    table = read_csv(path, IMAGE_COLUMNS, "splits")
    names = table[IMAGE].tolist()
    columns = [str(column) for column in table if SPLIT_COLUMN.fullmatch(str(column))]
    numbered = [column for column in columns if column != "official_split"] or columns
    if not numbered:
        raise UserError(f"splits {path} have no column official_split or ratio802_seed123_split_01")
    matched = match_names(scores.images, names, f"splits {path}")
    missing = next((image for image in scores.images if image not in matched), None)
    if missing is not None:
        raise UserError(f"splits {path} do not fit {scores.source}: they lack image {missing}")
    extra = sorted(set(names) - set(matched.values()), key=names.index)
    if extra:
        raise UserError(f"splits {path} do not fit {scores.source}: it lacks image {extra[0]}")
    rows = {name: row for row, name in enumerate(names)}
    order = [rows[matched[image]] for image in scores.images]
    return [_split_of_column(path, table[column].to_numpy(object)[order], column, scores) for column in numbered]


def _split_of_column(path: Path, values: np.ndarray, column: str, scores: OpinionScores) -> Split:
    named = np.array([SPLIT_NAMES.get(str(value).strip().lower(), "") for value in values], object)
    if (named == "").any():
        row = int(np.flatnonzero(named == "")[0])
        raise UserError(
            f"splits {path}, column {column}: image {scores.images[row]} is in {values[row]!r}, which is not one of "
            "train, val, test"
        )
    train, validation, test = (np.flatnonzero(named == part) for part in ("train", "validation", "test"))
    if test.size:
        return Split(train, validation, test)
    groups = np.arange(len(scores)) if scores.groups is None else scores.groups.astype(str)
    shuffle = GroupShuffleSplit(1, test_size=VALIDATION_SHARE, random_state=0)
    rest, chosen = next(shuffle.split(train, groups=groups[train]))
    return Split(train[rest], train[chosen], validation)


def _read_arrays(path: Path, scores: OpinionScores) -> list[Split]:
    parts = {part: _read_array(path / file) for part, file in FILES.items()}
    counts = {part: len(rows) for part, rows in parts.items()}
    if len(set(counts.values())) != 1:
        raise UserError(f"splits {path}: {', '.join(f'{FILES[part]} has {n} splits' for part, n in counts.items())}")
    splits = []
    for number, (train, validation, test) in enumerate(zip(*parts.values(), strict=True), start=1):
        uses = np.bincount(np.concatenate([train, validation, test]), minlength=len(scores))
        if len(uses) > len(scores):
            raise UserError(
                f"splits {path} do not fit {scores.source}: split {number} has position {len(uses) - 1}, and the table "
                f"has {len(scores)} images"
            )
        wrong = np.flatnonzero(uses != 1)
        if wrong.size:
            raise UserError(
                f"splits {path} do not fit {scores.source}: image {scores.images[wrong[0]]} is in {uses[wrong[0]]} "
                f"parts of split {number}"
            )
        splits.append(Split(train, validation, test))
    return splits


def _read_array(path: Path) -> np.ndarray:
    try:
        rows = np.atleast_2d(np.load(path, allow_pickle=False))
    except FileNotFoundError:
        raise UserError(f"splits {path} do not exist") from None
    except Exception as error:  # damaged files raise errors of many kinds in numpy
        raise UserError(f"splits {path} cannot be read: {error}") from None
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or (rows.size and rows.min() < 0):
        raise UserError(f"splits {path} hold {rows.dtype} {rows.shape}; positions (splits, images) are expected")
    return rows.astype(np.int64)


def write_splits(path: Path, splits: Sequence[Split], images: Sequence[str]) -> None:
    """Writes splits in either form: a CSV where ``path`` ends in .csv, else a folder of arrays.

    Parts of an array must be equally large in all splits; UserError where they are not.
    """
    if path.suffix.lower() == ".csv":
        columns = [np.full(len(images), "train", object) for _ in splits]
        for column, split in zip(columns, splits, strict=True):
            column[split.validation], column[split.test] = "val", "test"
        names = [f"split_{number:02d}" for number in range(1, len(splits) + 1)]
        write_csv(path, ("img_name", *(f"re_iqa_{name}" for name in names)), zip(images, *columns, strict=True))
        return
    for part, file in FILES.items():
        rows = [split.parts()[part] for split in splits]
        if len({len(row) for row in rows}) > 1:
            raise UserError(f"the {part} parts are of different sizes, which arrays cannot hold; write a .csv instead")
        write_array(path / file, np.stack(rows))
