"""Which content of which image file the features in a folder were computed from: journals beside the features.

``feats_<kind>/sources_<rank>.jsonl`` has a line for each file of features that the process ``rank`` of a job wrote. A
line holds the digest of that file, so it counts as long as these very features are there: whatever other processes
wrote, and whatever their clocks say.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import unicodedata
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from common.errors import UserError

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


@dataclass(frozen=True)
class Source:
    """The image that features were computed from, its name with its ending, as it was at ``stamp``.

    ``written`` is the SHA-256 of the file of features; empty in the journals of older versions.
    """

    image: str
    stamp: FileStamp
    written: str


class Sources:
    """The journals of one kind of features, in the folder ``feats_<kind>``; ``rank`` is that of the writing process."""

    def __init__(self, folder: Path, rank: int = 0):
        self._path = folder / f"sources_{rank}.jsonl"
        self._sources: dict[str, list[Source]] = defaultdict(list)
        self._images: dict[str, str] = {}
        for path in sorted(folder.glob("sources_*.jsonl")):
            try:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError as error:
                raise UserError(f"{path} cannot be read: {error.strerror}") from None
            for line in lines:
                # A line that a killed process has left incomplete: its features are computed again.
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    content = json.loads(line)
                    size, mtime, ctime = (int(content[name]) for name in ("size", "mtime_ns", "ctime_ns"))
                    stamp = FileStamp(size, mtime, ctime, str(content["sha256"]))
                    source = Source(str(content["image"]), stamp, str(content.get("written", "")))
                    self._keep(str(content["features"]), source)

    def of(self, name: str, written: str) -> Source | None:
        """The source of the features ``name`` whose file has the digest ``written``; None where it is not known."""
        sources = self._sources.get(name, [])
        matching = [source for source in sources if source.written == written]
        if matching:
            return matching[-1]
        # Older journals do not say of which features a line is. It counts where no other line says otherwise.
        contents = {(source.image, source.stamp.sha256, source.written) for source in sources}
        return sources[-1] if len(contents) == 1 and not sources[-1].written else None

    def image(self, name: str) -> str | None:
        """The image to which features of this name, or of one that some disks do not tell apart from it, belong."""
        return self._images.get(folded(name))

    def add(self, name: str, source: Source) -> None:
        """Records the source of features; UserError where the journal cannot be written."""
        line = json.dumps({"features": name, "image": source.image, **asdict(source.stamp), "written": source.written})
        try:
            # Not kept open: Windows could not remove the folder then.
            with open(self._path, "ab", buffering=0) as file:
                file.write(f"{line}\n".encode())
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from error
        self._keep(name, source)

    def _keep(self, name: str, source: Source) -> None:
        self._sources[name].append(source)
        self._images[folded(name)] = source.image


def folded(name: str) -> str:
    """A name in lower case and one Unicode form: equal for names that some disks do not tell apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
