"""The images below a folder, and an account of the files that are left out."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from networks.errors import UserError
from networks.images.formats import IMAGE_SUFFIXES, RAW_SUFFIXES, starts_like_an_image

_SYSTEM_FOLDERS = frozenset(
    """@eadir @recycle @recently-snapshot @tmp #recycle #snapshot __macosx $recycle.bin recycler found.000
    lost+found""".split()  # noqa: SIM905
) | {"system volume information", "ipod photo cache"}
_PREVIEWS_SUFFIX = ".lrdata"
"""Folders that a file server, an operating system or a photo program makes: like those with a dot in front, they hold
thumbnails, previews and deleted files."""

THUMBNAILS = "in hidden, thumbnail or system folders"


@dataclass
class FolderListing:
    """The image files below a folder, and what was left out: reason -> number of files.

    ``images`` are paths, sorted as bytes; ``unreadable`` are folders that could not be listed, with the reason.
    """

    images: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    def add(self, other: FolderListing) -> None:
        """Adds the images and the account of another folder."""
        self.images += other.images
        self.left_out += other.left_out
        self.unreadable += other.unreadable

    def reasons(self) -> str:
        """What was left out, for a person, the eight most frequent reasons first; empty where nothing was."""
        counts = [f"{n:,d} {reason}" for reason, n in self.left_out.most_common()]
        return "; ".join([*counts[:8], *(["..."] if len(counts) > 8 else [])])

    def account(self) -> str:
        """Unreadable folders and what is left out, to be appended to a closing line; empty where there is neither."""
        folders = f", {len(self.unreadable):,d} folders unreadable" if self.unreadable else ""
        return folders + (f", {self.left_out.total():,d} left out ({self.reasons()})" if self.left_out else "")

    def why_empty(self) -> str:
        """Unreadable folders and what is left out, in brackets, for the end of a sentence that there are no images."""
        reasons = [*self.unreadable[:3], *([self.reasons()] if self.left_out else [])]
        return f" ({'; '.join(reasons)})" if reasons else ""


def scan_folder(folder: str | os.PathLike) -> FolderListing:
    """Lists the image files below ``folder``, by their ending, or without one by their content.

    Links to folders are followed, each folder once. Hidden files and folders, and thumbnail folders, are left out.
    Raises UserError for a folder that does not exist.
    """
    if not os.path.isdir(folder):  # noqa: PTH112
        raise UserError(f"{os.fspath(folder)} is not a folder")
    listing = FolderListing()

    def note_unreadable(error: OSError) -> None:
        listing.unreadable.append(f"folder {error.filename} cannot be read: {error.strerror}")

    visited = set()
    walk = os.walk(os.fspath(folder), onerror=note_unreadable, followlinks=True)
    for parent, folders, names in tqdm(walk, desc="folders listed", unit="", disable=None, leave=False, delay=2):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        for name in [name for name in folders if is_system_folder(name)]:
            folders.remove(name)
            below = os.walk(os.path.join(parent, name))
            listing.left_out[THUMBNAILS] += sum(
                _suffix(file) in IMAGE_SUFFIXES for *_, files in below for file in files
            )
        for name in names:
            path = os.path.join(parent, name)
            reason = reason_to_leave_out(name, functools.partial(_starts_like_an_image, path))
            if reason is None:
                listing.images.append(path)
            else:
                listing.left_out[reason] += 1
    listing.images.sort(key=os.fsencode)
    listing.left_out = +listing.left_out
    return listing


def is_system_folder(folder_name: str) -> bool:
    """Whether a folder of this name holds thumbnails, previews or deleted files, or is hidden."""
    lowered = folder_name.lower()
    return lowered.startswith(".") or lowered in _SYSTEM_FOLDERS or lowered.endswith(_PREVIEWS_SUFFIX)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def reason_to_leave_out(name: str, starts_like_an_image: Callable[[], bool]) -> str | None:
    """Why a file of this name is not listed as an image; None for an image.

    ``starts_like_an_image`` is asked for a name without an ending.
    """
    suffix = _suffix(name)
    if name.startswith("."):
        return "hidden"
    if suffix in IMAGE_SUFFIXES:
        return None
    if suffix in RAW_SUFFIXES:
        return "camera raw, to be developed first"
    if suffix:
        return f"with the ending {suffix.encode(errors='replace').decode()}"
    return None if starts_like_an_image() else "without an ending, and not images"


def _starts_like_an_image(path: str) -> bool:
    try:
        if not os.path.isfile(path):  # noqa: PTH113  a pipe would block
            return False
        with open(path, "rb") as file:
            return starts_like_an_image(file.read(32))
    except OSError:
        return True  # it may be one, and is then reported as unreadable
