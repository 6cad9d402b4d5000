"""What a person means by ``--input``: a file, a folder, a glob or a CSV, as a list of images with their names."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.errors import UserError
from datasets.images import IMAGE_SUFFIXES, find_images
from datasets.tables import TABLE_SUFFIXES, read_csv, shown

PATH_COLUMNS = ("Image_path", "image")


@dataclass(frozen=True)
class ListedImage:
    """An image file and its name: its path below the input, with forward slashes, by which results are kept."""

    path: str
    name: str


def list_images(source: str | os.PathLike) -> list[ListedImage]:
    """The images that ``source`` names, in the order of their names (a CSV's in its own).

    A folder means all images below it. A table (.csv, .tsv, .xlsx) means the paths in its column Image_path or image;
    relative ones start at the current folder or else at the table's. Raises UserError where nothing is found.
    """
    source = os.fspath(source)
    path = Path(source)
    if path.is_dir():
        paths, root = find_images(path), path
    elif path.suffix.lower() in TABLE_SUFFIXES:
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
    listed: dict[str, tuple[object, str]] = {}
    images = []
    for line, given in table[column].items():
        if not given:
            raise UserError(f"--input {csv_path}, line {line}: no image is named")
        # os.path does not mind names that are too long for the disk, and pathlib does.
        beside_csv = os.path.join(csv_path.parent, given)
        path = beside_csv if not os.path.exists(given) and os.path.exists(beside_csv) else given  # noqa: PTH110
        name, absolute = image_name(given), os.path.abspath(path)
        if name not in listed:
            listed[name] = line, absolute
            images.append(ListedImage(path, name))
        elif listed[name][1] != absolute:
            raise UserError(
                f"--input {csv_path}, line {line}: {given} would have the same name, {name}, as another file on line "
                f"{listed[name][0]}; give their paths from the same folder"
            )
    return images


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


def match_names(wanted: Sequence[str], available: Sequence[str], where: str) -> dict[str, str]:
    """Wanted name -> the available name that means the same image, for those that have one.

    Folders that only one of the two names begins with, the ending, the case of letters, and the Unicode form (macOS
    writes an accent as a character of its own) may differ where the rest tells the images apart: tables and folders of
    a database seldom agree in these. An exact match comes first. Raises UserError, naming ``where`` the available
    names are from, for a name that fits several, and for two names that fit the same.
    """
    exact = set(available)
    matched: dict[str, str] = {}
    for given in wanted:
        name = image_name(given)
        same = next((spelling for spelling in (name, _without_suffix(name)) if spelling in exact), None)
        if same is not None:
            matched[given] = same
    taken = set(matched.values())
    by_last_part: dict[str, list[str]] = defaultdict(list)
    for name in available:
        if name not in taken:
            by_last_part[_without_suffix(PurePosixPath(_folded(name)).name)].append(name)
    for given in wanted:
        if given in matched:
            continue
        name = image_name(given)
        candidates = by_last_part.get(_without_suffix(PurePosixPath(_folded(name)).name), ())
        fitting = [candidate for candidate in candidates if _same_end(name, candidate)]
        if len({_without_suffix(_folded(candidate)) for candidate in fitting}) == 1:
            # Of names that differ only in case, ending or Unicode form, the one with the same spelling is meant.
            last = PurePosixPath(name).name
            for spelling in (last, _without_suffix(last)):
                alike = [one for one in fitting if PurePosixPath(one).name == spelling]
                fitting = alike if len(alike) == 1 else fitting
        if len(fitting) > 1:
            raise UserError(
                f"image {shown(given)} fits several in {where}: {', '.join(map(shown, sorted(fitting)[:3]))}; name it "
                "with its folder"
            )
        if fitting:
            matched[given] = fitting[0]
    images: dict[str, str] = {}
    for given, name in matched.items():
        # Two images must not share features: they could stand on both sides of a split.
        if name in images:
            raise UserError(
                f"images {shown(images[name])} and {shown(given)} both fit {shown(name)} in {where}; one of them is "
                "not there"
            )
        images[name] = given
    return matched


def _folded(name: str) -> str:
    """A name without differences in the case of letters and in their Unicode form."""
    return unicodedata.normalize("NFC", name.lower())


def _same_end(name: str, other: str) -> bool:
    """Whether the shorter path is the end of the longer one, whatever the case, Unicode form and ending."""
    parts, others = (_without_suffix(_folded(path)).split("/") for path in (name, other))
    length = min(len(parts), len(others))
    return parts[-length:] == others[-length:]
