"""Which content a file had: by its size and times at a glance, and for certain by the digest of its content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 1 << 20


@dataclass(frozen=True)
class QuickStamp:
    """What a file system says of a file. Where all of it is the same, as git too assumes, the content is the same.

    The time of the last change of the entry (ctime) cannot be set by copying programs, unlike that of modification.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True)
class FileStamp:
    """A file's ``QuickStamp`` and the SHA-256 of its content, hexadecimal."""

    quick: QuickStamp
    sha256: str


def quick_stamp(path: str | os.PathLike) -> QuickStamp | None:
    """The stamp of the file at ``path``, or None where there is none."""
    try:
        return _quick(os.stat(path))  # noqa: PTH116
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return None


def stamp_file(file: BinaryIO) -> FileStamp:
    """The stamp of an open file, which is at its start before and after."""
    quick = _quick(os.fstat(file.fileno()))
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    file.seek(0)
    return FileStamp(quick, digest.hexdigest())


def _quick(status: os.stat_result) -> QuickStamp:
    return QuickStamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
