"""The forms in which databases distribute their labels: tables, text files, MATLAB files."""

from __future__ import annotations

import contextlib
import io
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from datasets.opinions.tables import IMAGE, decode, frame, listed, read_bytes, read_csv, shown, visible
from networks.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Name of a part of an official split in label files -> its name here."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def score_table(images: Iterable[str], mos: ArrayLike, **optional: Iterable[object] | None) -> pd.DataFrame:
    """The table of an ``OpinionScores`` from columns, (n,) each; ``optional`` are group, split, std and n_raters."""
    given = {name: column for name, column in optional.items() if column is not None}
    return frame({"image": list(images), **given}).assign(mos=np.asarray(mos, np.float64))


def read_labels(
    path: str | os.PathLike,
    image: str | tuple[str, ...],
    mos: str | tuple[str, ...],
    group: str = "",
    split: str = "",
    std: str = "",
    n_raters: str = "",
    others: tuple[str, ...] = (),
    sheet: str | None = None,
    what: str = "label file",
    optional: bool = False,
) -> pd.DataFrame:
    """The table of an ``OpinionScores``, indexed by line, from the columns with these names in a file.

    Of ``image`` and of ``mos`` the first that is there counts. The texts ``group`` and ``split`` must be there unless
    they are ``optional``; so must ``others``, which are columns of the result, too. ``what`` names the kind of file.
    Raises UserError, with the line, for a score that is no number, an image that has no name or is listed twice, an
    unknown part of a split, and an impossible std or n_raters.
    """
    where = f"{what} {os.fspath(path)}"
    images, scores = ((one,) if isinstance(one, str) else one for one in (image, mos))
    texts = tuple(filter(None, (group, split, *others)))
    numbers = (*scores, *filter(None, (std, n_raters)))
    table = read_csv(path, images, what, optional=texts, numbers=numbers, sheet=sheet)
    score = next((column for column in scores if column in table), scores[0])
    for column in (score, *(() if optional else texts)):
        if column not in table:
            raise UserError(f"{where} has no column '{column}'; its columns are: {listed(table)}")
    names = table[IMAGE]
    if (names == "").any():
        raise UserError(f"{where}, line {names.index[names == ''][0]}: no image is named")
    check_unique(names, where)
    columns: dict[str, Iterable[object]] = {"image": names, **{name: table[name] for name in others}}
    if group in table:
        columns["group"] = [unicodedata.normalize("NFC", name.strip()) or None for name in table[group]]
    if split in table:
        columns["split"] = _parts(table[split], where)
    labels = frame(columns, list(table.index)).assign(mos=read_numbers(table[score], where))
    for name, column, lowest in (("std", std, 0), ("n_raters", n_raters, 2)):
        if column in table and table[column].str.strip().any():
            labels[name] = read_numbers(table[column], where, name)
            wrong = labels[labels[name] < lowest]
            if len(wrong):
                given = f"{wrong[name].iloc[0]:g}"
                raise UserError(f"{where}, line {wrong.index[0]}: {name} is {given}, less than {lowest}")
    return labels


def _parts(column: pd.Series, where: str) -> list[str]:
    """The parts of an official split, as SPLIT_NAMES calls them; UserError, with the line, for an unknown part."""
    names = column.str.strip().str.lower()
    unknown = names[~names.isin(SPLIT_NAMES)]
    if len(unknown):
        line = unknown.index[0]
        raise UserError(f"{where}, line {line}: split {visible(column[line])} is not one of train, validation, test")
    return [SPLIT_NAMES[name] for name in names]


def check_unique(images: pd.Series, where: str) -> None:
    """UserError where an image has more than one row; ``images`` is indexed by line."""
    repeated = images[images.duplicated()]
    if len(repeated):
        first = images.index[images == repeated.iloc[0]][0]
        raise UserError(
            f"{where}, line {repeated.index[0]}: image {shown(repeated.iloc[0])} has a score on line {first} already; "
            "give each image once, with its mean score"
        )


def read_numbers(column: pd.Series, where: str, meaning: str = "score") -> np.ndarray:
    """A column of texts, indexed by line, as float64; UserError with the line of the first text that is no number."""
    values = np.array([float(text) if _NUMBER.fullmatch(text.strip()) else np.nan for text in column], np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        line, text = column.index[wrong[0]], column.iloc[wrong[0]]
        raise UserError(f"{where}, line {line}: the {meaning} {visible(text)} is not a number")
    return values


def read_pairs(path: Path, image_first: bool, separator: str | None = None) -> pd.DataFrame:
    """A text file with an image and a score on every line, apart from blank lines; indexed by line.

    They are separated by ``separator``, or by blanks where it is None.
    """
    rows, lines = [], []
    content = decode(read_bytes(path, f"label file {path}"))
    for line, text in enumerate(io.StringIO(content, newline=None), start=1):
        if not text.strip():
            continue
        parts = [part.strip() for part in text.split(separator)]
        if len(parts) != 2:
            raise UserError(f"label file {path}, line {line}: {text.strip()!r} is not an image and a score")
        rows.append(parts if image_first else parts[::-1])
        lines.append(line)
    if not rows:
        raise UserError(f"label file {path} lists no images")
    images, mos = zip(*rows, strict=True)
    table = frame({"image": images, "mos": mos}, lines)
    check_unique(table["image"], f"label file {path}")
    return table.assign(mos=read_numbers(table["mos"], f"label file {path}"))


NAMES, NUMBERS = "U", "fiu"
"""What a variable of a MATLAB file holds, by numpy's kinds."""


def read_matrix(path: Path, kind: str, *variables: str) -> list[np.ndarray]:
    """Variables of a MATLAB file, flattened, all NAMES or all NUMBERS; cells of text become arrays of str."""
    import scipy.io  # a fifth of a second, which --help does not need

    stored = read_bytes(path, f"label file {path}")
    try:
        content = scipy.io.loadmat(io.BytesIO(stored), variable_names=variables)
    except Exception as error:  # damaged files raise errors of many kinds in scipy's reader
        raise UserError(f"label file {path} is not a MATLAB file, or is damaged: {error}") from None
    with contextlib.suppress(KeyError, IndexError, AttributeError):
        arrays = [content[name].ravel() for name in variables]
        values = [np.array([_text(cell) for cell in one]) if one.dtype == object else one for one in arrays]
        if all(one.dtype.kind in kind for one in values):
            return values
    raise UserError(
        f"label file {path}: {' or '.join(variables)} is missing, or not in the form that the database distributes"
    )


def _text(cell: np.ndarray) -> str:
    """The text in a cell; some databases put a cell into a cell."""
    while isinstance(cell, np.ndarray):
        cell = cell.ravel()[0]
    return str(cell)


def check_length(path: Path, expected: int, *values: np.ndarray) -> None:
    """UserError where one of the variables of a label file has not the ``expected`` number of entries."""
    for value in values:
        if len(value) != expected:
            raise UserError(f"label file {path} holds {len(value)} entries where {expected} belong")
