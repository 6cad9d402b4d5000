"""Which content an image file had when its features were computed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 1 << 20


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
    while block := file.read(_BLOCK):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()
