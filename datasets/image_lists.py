"""What a person means by ``--input``: a file, a folder, a glob or a CSV, as a list of images with their names."""

from __future__ import annotations

import glob
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.errors import UserError
from datasets.images import find_images
from datasets.tables import read_csv

PATH_COLUMNS = ("Image_path", "image")


@dataclass(frozen=True)
class ListedImage:
    """An image file and its name: its path below the input, with forward slashes, by which results are kept."""

    path: str
    name: str


def list_images(source: str | os.PathLike) -> list[ListedImage]:
    """The images that ``source`` names, in the order of their names (a CSV's in its own).

    A folder means all images below it; a CSV the paths in its column Image_path or image, relative ones starting at
    the current folder or else at the CSV's. Raises UserError where nothing is found.
    """
    source = os.fspath(source)
    path = Path(source)
    if path.is_dir():
        paths, root = find_images(path), path
    elif path.suffix.lower() == ".csv":
        return _list_csv(path)
    elif path.is_file():
        paths, root = [path], path.parent
    elif glob.has_magic(source):
        paths = sorted(Path(found) for found in glob.iglob(source, recursive=True) if Path(found).is_file())  # noqa: PTH207
        root = _unmagic_parent(path)
    else:
        raise UserError(f"--input {source} does not exist")
    if not paths:
        raise UserError(f"--input {source}: no images there")
    return [ListedImage(str(found), found.relative_to(root).as_posix()) for found in paths]


def _unmagic_parent(pattern: Path) -> Path:
    """The deepest folder of a glob that is the same for whatever it finds."""
    fixed = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _list_csv(csv_path: Path) -> list[ListedImage]:
    table = read_csv(csv_path, PATH_COLUMNS, "--input")
    column = next(name for name in PATH_COLUMNS if name in table)
    listed, seen = [], set()
    for given in table[column]:
        if given in seen:
            continue
        seen.add(given)
        beside_csv = csv_path.parent / given
        path = str(beside_csv) if not Path(given).exists() and beside_csv.exists() else given
        listed.append(ListedImage(path, image_name(given)))
    return listed


def image_name(given: str) -> str:
    """The name of an image that a table calls ``given``: its path without root, drive and ".."."""
    parts = [part for part in PurePosixPath(given.replace(os.sep, "/")).parts if part not in ("/", "..", ".")]
    return "/".join(parts)


def feature_names(images: list[ListedImage]) -> dict[str, str]:
    """Image name -> name for its features: without the ending, unless two images differ in nothing else."""
    stems = Counter(str(PurePosixPath(image.name).with_suffix("")) for image in images)
    names = {}
    for image in images:
        stem = str(PurePosixPath(image.name).with_suffix(""))
        names[image.name] = stem if stems[stem] == 1 else image.name
    return names
