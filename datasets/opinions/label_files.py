"""The forms in which databases distribute their labels: tables, text files, MATLAB files; and their image files."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UserError
from datasets.opinions.scores import check_unique, read_numbers, read_spread
from datasets.opinions.tables import ENCODING, ENCODING_ERRORS, IMAGE, frame, listed, read_bytes, read_csv

if TYPE_CHECKING:
    import pandas as pd


def read_labels(
    path: Path,
    image: str,
    mos: str,
    others: tuple[str, ...] = (),
    std: str = "",
    n_raters: str = "",
    sheet: str | None = None,
) -> pd.DataFrame:
    """The columns image, mos, std and n_raters (NaN where they are not there) of a label file, and ``others``.

    ``image``, ``mos``, ``std`` and ``n_raters`` are the names in the file; ``others`` must be there too.
    """
    where = f"label file {path}"
    numbers = tuple(filter(None, (mos, std, n_raters)))
    table = read_csv(path, (image,), "label file", optional=others, numbers=numbers, sheet=sheet)
    for column in (mos, *others):
        if column not in table:
            raise UserError(f"{where} has no column '{column}'; its columns are: {listed(table)}")
    check_unique(table[IMAGE], where)
    labels = table[[IMAGE, *others]].assign(mos=read_numbers(table[mos], where))
    for name, column in (("std", std), ("n_raters", n_raters)):
        labels[name] = read_spread(table[column], where, name) if column in table else np.nan
    return labels


def read_pairs(path: Path, image_first: bool, separator: str | None = None) -> pd.DataFrame:
    """A text file with an image and a score on every line, apart from blank lines; indexed by line.

    They are separated by ``separator``, or by blanks where it is None.
    """
    rows, lines = [], []
    content = read_bytes(path, f"label file {path}").decode(ENCODING, ENCODING_ERRORS)
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
    missing = [name for name in variables if name not in content]
    if missing:
        raise UserError(f"label file {path} holds no variable {missing[0]}")
    try:
        arrays = [content[name].ravel() for name in variables]
        values = [np.array([_text(cell) for cell in one]) if one.dtype == object else one for one in arrays]
    except (IndexError, AttributeError):
        raise UserError(
            f"label file {path}: {' or '.join(variables)} differs from the form that the database distributes"
        ) from None
    if any(one.dtype.kind not in kind for one in values):
        raise UserError(f"label file {path} holds {'numbers' if kind == NAMES else 'names'} in the wrong variable")
    return values


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
