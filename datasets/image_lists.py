"""What a person means by ``--input``: a file, a folder, a glob or a CSV, as a list of images with their names."""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.errors import UserError
from datasets.images import IMAGE_SUFFIXES, find_images
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


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in IMAGE_SUFFIXES else name


def match_names(wanted: Iterable[str], available: Sequence[str], where: str) -> dict[str, str]:
    """Wanted name -> the available name that means the same image, for those that have one.

    Folders that only one of the two names begins with, the ending, and the case of letters may differ, where what
    is left tells the images apart: tables and folders of a database seldom agree in these. An exact match comes
    first. Raises UserError, naming ``where`` the available names are from, for a name that fits several.
    """
    exact = set(available)
    by_last_part: dict[str, set[str]] = defaultdict(set)
    for name in available:
        last = PurePosixPath(name.lower()).name
        by_last_part[last].add(name)
        by_last_part[_without_suffix(last)].add(name)
    matched = {}
    for given in wanted:
        name = image_name(given)
        if name in exact:
            matched[given] = name
            continue
        for spelling in dict.fromkeys((name, _without_suffix(name))):
            candidates = by_last_part.get(PurePosixPath(spelling.lower()).name, ())
            fitting = [candidate for candidate in candidates if _same_end(spelling, candidate)]
            # Of names that differ only in their letters' case or in their ending, the one spelt alike is meant.
            alike = [one for one in fitting if one.endswith(spelling) or _without_suffix(one).endswith(spelling)]
            fitting = alike if len(alike) == 1 else fitting
            if len(fitting) > 1:
                raise UserError(
                    f"image {given} fits several in {where}: {', '.join(sorted(fitting)[:3])}; name it with its folder"
                )
            if fitting:
                matched[given] = fitting[0]
                break
    return matched


def _same_end(name: str, other: str) -> bool:
    """Whether the shorter path is the end of the longer one, whatever the case and the ending."""
    parts, others = (_without_suffix(path.lower()).split("/") for path in (name, other))
    length = min(len(parts), len(others))
    return parts[-length:] == others[-length:]
