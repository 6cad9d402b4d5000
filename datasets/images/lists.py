"""The images that an input names: files, folders, globs and lists, with the names by which features are kept, and the
stamps by which changed files are noticed.
"""

from __future__ import annotations

import codecs
import filecmp
import glob
import hashlib
import itertools
import operator
import os
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from common import log
from common.names import PATH_COLUMN
from datasets.images.folders import FolderListing, scan_folder
from datasets.opinions.tables import AS_WRITTEN, IMAGE, TABLE_SUFFIXES, read_bytes, read_csv, shown
from networks.errors import UserError
from networks.images.formats import IMAGE_SUFFIXES, starts_like_an_image

PATH_COLUMNS = (PATH_COLUMN, "image", "image_name")
"""The columns of images in a table; the first that is there counts."""

LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class ListedImage:
    """An image file, and its name by which features are kept: its path below the input, with forward slashes."""

    path: str
    name: str


@dataclass(frozen=True)
class FileStamp:
    """A file's size in bytes, when its content and its entry were last changed, and the SHA-256 of its content."""

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


def stamp_file(file: BinaryIO) -> FileStamp:
    """The stamp of an open file, which is at its start before and after."""
    status = os.fstat(file.fileno())
    return FileStamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, _digest(file))


def is_unchanged(path: str | os.PathLike, stamp: FileStamp) -> bool:
    """Whether the file at ``path`` is still the one that was stamped; true where there is no file any more.

    A new size or a new time of the content is a change. Programs that copy can preserve both for another content, but
    none can set the time of the entry (ctime): where that is new, or a disk counts in whole seconds, the content
    decides. Only times of the file are compared, so the clocks of machines may differ.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return True
    if (status.st_size, status.st_mtime_ns) != (stamp.size, stamp.mtime_ns):
        return False
    if status.st_ctime_ns == stamp.ctime_ns and stamp.ctime_ns % 1_000_000_000:
        return True
    try:
        with open(path, "rb") as file:
            return _digest(file) == stamp.sha256
    except OSError:
        return False  # to be reported when it is read


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()


@dataclass
class ImageListing:
    """The images that an input names, each file once.

    ``rows`` are the input's, in its order, repeated ones too: the image as the input gives it, and that of the listing.
    An image of a folder or glob is given as the path that opens from the current folder. So is one that two lists call
    alike, if they mean different files: no two images have the same name here.
    ``folders`` accounts for files and folders that are not among them.
    """

    images: list[ListedImage] = field(default_factory=list)
    rows: list[tuple[str, ListedImage]] = field(default_factory=list)
    folders: FolderListing = field(default_factory=FolderListing)


_Found = tuple[str, str, tuple[str, ...]]
"""A path to open, how the input spells it, and its names: the first one that no other file has is taken."""


def list_images(sources: str | os.PathLike | Sequence[str | os.PathLike], option: str = "--input") -> ImageListing:
    """Lists the images that one or several sources name.

    A folder means all images below it, sorted; a glob the files that it fits, sorted; a table (.csv, .tsv, .xlsx) the
    paths in its column Image_path or image; a .txt file, and "-" for standard input, one path per line. Relative paths
    in a table or list start at the folder of the file, or else at the current folder. Raises UserError for a source
    that does not exist or names no image, and for a path that is a different file in each of these folders; its
    sentence calls the source as the command line does, ``option``. Folders that cannot be read are printed.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    listing = ImageListing()
    listed: dict[str, ListedImage] = {}
    names: set[str] = set()
    called: dict[str, ListedImage] = {}
    for source in (os.fspath(one) for one in sources):
        found = _find(source, listing.folders, option)
        if not found:
            raise UserError(f"{option} {source}: no images there{listing.folders.why_empty()}")
        for path, given, possible_names in found:
            absolute = os.path.abspath(path)
            if absolute not in listed:
                # Files of one name, such as two folders' IMG_0001.jpg, are told apart by their folders.
                last = image_name(absolute)
                numbered = (f"{n}/{last}" for n in itertools.count(2))
                name = next(one for one in itertools.chain(possible_names, [last], numbered) if one not in names)
                names.add(name)
                listed[absolute] = ListedImage(path, name)
                listing.images.append(listed[absolute])
            image = listed[absolute]
            row = next((one for one in (given, path) if called.setdefault(one, image) is image), absolute)
            listing.rows.append((row, image))
    for sentence in listing.folders.unreadable:
        log.error(sentence)
    return listing


def _find(source: str, folders: FolderListing, option: str) -> list[_Found]:
    """The images of one source; what a folder leaves out is added to ``folders``."""
    path = Path(source)
    if source == "-":
        if sys.stdin is None:
            raise UserError(f"{option} {source}: standard input is closed; pipe a list of paths into the command")
        return _find_in_lines(sys.stdin.buffer.read(), Path(), f"{option} standard input")
    if path.is_dir():
        folder = scan_folder(source)
        images = sorted(map(Path, folder.images))
        folder.images.clear()
        folders.add(folder)
        names = [image.relative_to(source).as_posix() for image in images]
        return [(str(image), str(image), (name,)) for image, name in zip(images, names, strict=True)]
    if path.suffix.lower() in TABLE_SUFFIXES:
        return _find_in_table(path, option)
    if path.suffix.lower() == LIST_SUFFIX and path.is_file():
        return _find_in_lines(read_bytes(path, f"{option} {source}"), path.parent, f"{option} {source}")
    if os.path.lexists(source):
        return [(source, source, (path.name, image_name(source)))]
    if glob.has_magic(source):
        found = sorted(Path(one) for one in glob.iglob(source, recursive=True) if Path(one).is_file())  # noqa: PTH207
        # The deepest folder that all of its files have in common, whatever it finds.
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts[:-1]))
        return [(str(one), str(one), (one.relative_to(root).as_posix(), image_name(str(one)))) for one in found]
    raise UserError(f"{option} {source} does not exist")


def _find_in_table(csv_path: Path, option: str) -> list[_Found]:
    table = read_csv(csv_path, PATH_COLUMNS, option, as_written=True)
    found: list[_Found] = []
    for line, plain, given in zip(table.index, table[IMAGE], table[AS_WRITTEN], strict=True):
        if not plain:
            raise UserError(f"{option} {csv_path}, line {line}: no image is named")
        found.append((_from_folder(csv_path.parent, plain), given, (image_name(plain),)))
    return found


def _find_in_lines(content: bytes, folder: Path, where: str) -> list[_Found]:
    if starts_like_an_image(content[:32]):
        raise UserError(f"{where} is an image, not a list of paths; give it an image's ending")
    found: list[_Found] = [(path, given, (image_name(plain),)) for path, plain, given in paths_in_list(content, folder)]
    if not found:
        raise UserError(f"{where} lists no images")
    return found


def paths_in_list(content: bytes, folder: Path) -> Iterator[tuple[str, str, str]]:
    """The entries of a list, a line each or separated by NUL (``find -print0``): path to open, plain spelling, line.

    A relative path begins at ``folder``, or at the current folder where a file is only there. Lines that begin with "#"
    are comments. Blanks and quotation marks around a path do not belong to it, unless there is a file with them in its
    name. PowerShell writes UTF-16, and Windows writes backslashes.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = os.fsencode(content.decode("utf-16", "replace").replace("\ufffd", "?"))
    separator = b"\0" if b"\0" in content else b"\n"
    for line in content.removeprefix(codecs.BOM_UTF8).split(separator):
        given = os.fsdecode(line.removesuffix(b"\r"))
        plain = given.strip()
        unquoted = plain[1:-1] if len(plain) > 2 and plain[0] == plain[-1] and plain[0] in "\"'" else plain
        for one in dict.fromkeys((given, plain, unquoted, unquoted.replace("\\", "/"))):
            path = _from_folder(folder, one)
            if one and os.path.lexists(path):
                break
        else:
            one, path = unquoted, _from_folder(folder, unquoted)
            if not one or one.startswith("#"):
                continue
        yield path, one, given


def _from_folder(folder: Path, given: str) -> str:
    """A relative path from ``folder``, or from the current folder where a file is only there.

    UserError where both have a file of this path, and their contents differ: one would be of another database.
    """
    # os.path accepts names that are too long for the file system; pathlib raises.
    beside = given if folder == Path() else os.path.join(folder, given)
    if beside == given or not os.path.lexists(beside):
        return given
    if os.path.isfile(given) and os.path.isfile(beside) and not filecmp.cmp(given, beside, shallow=False):  # noqa: PTH113
        raise UserError(
            f"image {given} can be {beside} or {os.path.abspath(given)}, which differ; run the command in another "
            "folder, or list complete paths"
        )
    return beside


def image_name(given: str) -> str:
    """The name of an image that a list calls ``given``: its path without root, ".." and the colon of a drive.

    It is a path below any folder that it is joined to, on Windows too.
    """
    below = re.sub(r"^([A-Za-z]):/", r"\1/", given.replace(os.sep, "/"))
    return "/".join(part for part in below.split("/") if part not in ("", "..", "."))


def match_names(requested: Sequence[str], available: Sequence[str], where: str) -> dict[str, str]:
    """Name in a table -> the available name of the same image, for those that have one.

    Tables and folders of a database seldom agree in leading folders, endings, upper case and Unicode form (macOS
    writes an accent as a character of its own): these may differ, as long as the rest identifies the image. An exact
    match comes first. ``where`` says for messages where the available names are from. Raises UserError for a name that
    fits several, and for two names that fit the same.
    """
    exact = set(available)
    matched: dict[str, str] = {}
    for given in requested:
        name = image_name(given)
        same = next((spelling for spelling in (name, _without_suffix(name)) if spelling in exact), None)
        if same is not None:
            matched[given] = same
    used = set(matched.values())
    by_last_part: dict[str, list[str]] = defaultdict(list)
    for name in available:
        if name not in used:
            by_last_part[_folded_parts(name)[-1]].append(name)
    for given in requested:
        if given in matched:
            continue
        name, parts = image_name(given), _folded_parts(image_name(given))
        fitting = [  # the shorter path is the end of the longer one
            one
            for one in by_last_part.get(parts[-1], ())
            if all(map(operator.eq, parts[::-1], _folded_parts(one)[::-1]))
        ]
        if len({_folded_parts(candidate) for candidate in fitting}) == 1:
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
        # Two images must not share features: they could be on both sides of a split.
        if name in images and image_name(images[name]) == image_name(given):
            raise UserError(f"{shown(images[name])} and {shown(given)} are the same image; give each image once")
        if name in images:
            raise UserError(
                f"images {shown(images[name])} and {shown(given)} both fit {shown(name)} in {where}; one of them is "
                "not there"
            )
        images[name] = given
    return matched


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in IMAGE_SUFFIXES else name


def _folded_parts(name: str) -> tuple[str, ...]:
    """The parts of a path without differences in the case of letters, in their Unicode form and in the ending."""
    return tuple(_without_suffix(unicodedata.normalize("NFC", name.lower())).split("/"))
