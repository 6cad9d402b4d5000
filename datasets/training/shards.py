"""Images in tar files (shards): read one by one in any order, never extracted; and copied into shards.

The format is WebDataset's: plain tar files of images. The webdataset library itself streams through a shuffle buffer
and cannot continue at an exact step. Here a list of places (shard, offset, size) gives each image by its index, so that
samples, shuffling and resuming are those of single files, without the cost of opening a file for each image.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import tarfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import log
from common.atomic_files import remove_leftovers, whole_file
from common.folder_lock import hold
from common.progress_bar import ProgressBar
from datasets.images.folders import THUMBNAILS, FolderListing, is_system_folder, reason_to_leave_out
from networks.errors import UserError
from networks.images.formats import starts_like_an_image
from networks.images.reading import open_image_file

SHARD = ".tar"
INDEX = ".index.json"
"""Ending, after ``.tar``, of the file that lists the images of a shard."""

MAX_OPEN = 128
"""Number of shards that a process keeps open."""

SHARD_NAME = "shard-{:06d}.tar"

SHARD_MEGABYTES = 1000
"""Default limit of a shard. 740,000 images of 150 kB are 111 shards, fewer than a process keeps open."""

_HEADERS = 4 * tarfile.BLOCKSIZE
"""Bytes reserved for the headers of a member with a long name, and for the end of the shard."""

SPECIAL = "links, sparse and special files"

_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"(\xb5/\xfd": "unzstd"}
"""How compressed files begin, and what decompresses them."""

_START = 32
"""Bytes by which an image without an ending is recognised."""


class Member(NamedTuple):
    """An image in a shard: its first byte, its number of bytes, its name."""

    offset: int
    size: int
    name: str


@dataclass(frozen=True)
class Shard:
    """The images of a tar file in its order, and an account of its other members.

    ``size`` (bytes) and ``mtime`` (seconds) are those of the tar file. Whole seconds, since copying to a cluster's file
    system often loses fractions.
    """

    path: str
    size: int
    mtime: int
    members: list[Member] = field(default_factory=list)
    left_out: FolderListing = field(default_factory=FolderListing)


def find_shards(folder: str | os.PathLike) -> list[str]:
    """The tar files in ``folder``, sorted; without hidden ones, which are being written."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(SHARD) and not name.startswith("."))
    return [os.path.join(folder, name) for name in names]


def read_shard(path: str) -> tuple[Shard, bool]:
    """A shard, and whether its index listed it; a shard without a valid index is listed from its tar headers.

    Raises UserError for a shard that is not there, is compressed, damaged or truncated.
    """
    size, mtime = _size_and_mtime(path)
    try:
        stored = json.loads(Path(path + INDEX).read_bytes())
        if (stored["size"], stored["mtime"]) == (size, mtime):
            left_out = FolderListing(
                left_out=Counter(stored["left_out"]), other_suffixes=Counter(stored["other_suffixes"])
            )
            return Shard(path, size, mtime, [Member(*member) for member in stored["members"]], left_out), True
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: the headers say the same
        pass
    return scan_shard(path), False


def write_index(shard: Shard) -> None:
    """Writes the list of a shard's images beside it."""
    index = {
        "size": shard.size,
        "mtime": shard.mtime,
        "left_out": shard.left_out.left_out,
        "other_suffixes": shard.left_out.other_suffixes,
        "members": shard.members,
    }
    with whole_file(shard.path + INDEX) as temporary:
        temporary.write_text(json.dumps(index), encoding="utf-8")


def read_shards(paths: Sequence[str]) -> Iterator[tuple[Shard, bool]]:
    """``read_shard`` of each path, with a bar."""
    bar = ProgressBar(len(paths), "shard")
    for path in paths:
        yield read_shard(path)
        bar.add(1)
    bar.close()


def scan_shard(path: str) -> Shard:
    """Lists a shard from its tar headers, which takes a read for each member."""
    shard = Shard(path, *_size_and_mtime(path))
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            tool = next((tool for magic, tool in _COMPRESSED.items() if start.startswith(magic)), None)
            if tool:
                raise UserError(f"shard {path} is compressed; images are read from plain tar files: run {tool} on it")
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
                    if member.isdir():
                        continue
                    reason: str | None = SPECIAL
                    if member.isreg() and not member.issparse():
                        content = tar.extractfile(member)
                        reason = reason_to_leave_out_member(member.name, content.read if content else lambda _: b"")
                    if reason is None:
                        shard.members.append(Member(member.offset_data, member.size, member.name))
                    else:
                        shard.left_out.leave_out(posixpath.basename(member.name), reason)
                end = tar.offset
            file.seek(end)
            # Python ends without an error at a header that it cannot read.
            padding = file.read(tarfile.RECORDSIZE)
    except tarfile.TarError as error:
        raise UserError(f"shard {path} is damaged or truncated: {error}") from None
    except OSError as error:
        raise UserError(f"shard {path} cannot be read: {error.strerror or error}") from None
    if len(padding) < tarfile.BLOCKSIZE:
        raise UserError(f"shard {path} is truncated: it ends at byte {shard.size:,d} without a tar file's end mark")
    if any(padding):
        raise UserError(f"shard {path} has no tar header at byte {end:,d}: it is damaged, or several archives in one")
    return shard


def reason_to_leave_out_member(member_name: str, read: Callable[[int], bytes]) -> str | None:
    """Why a file in a shard is not one of its images; None for an image. ``read`` gives its first bytes."""
    folder, name = posixpath.split(member_name)
    if any(is_system_folder(part) for part in folder.split("/") if part not in (".", "..")):
        return THUMBNAILS
    return reason_to_leave_out(name, lambda: starts_like_an_image(read(_START)))


def _size_and_mtime(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        raise UserError(f"shard {path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise UserError(f"shard {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return status.st_size, int(status.st_mtime)


class ShardImages:
    """The images of several shards, by index. Arrays, which worker processes share."""

    def __init__(self, shards: Sequence[Shard]):
        members = [member for shard in shards for member in shard.members]
        self.shards = [shard.path for shard in shards]
        self._shard_sizes = [shard.size for shard in shards]
        self._shard = np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard.members) for shard in shards])
        self._offset = np.array([member.offset for member in members], np.int64)
        self._size = np.array([member.size for member in members], np.int64)
        self.paths = np.array(
            [os.fsencode(f"{shard.path}: {member.name}") for shard in shards for member in shard.members]
        )
        """``shard.tar: member`` as file-system bytes, (n,): names for messages."""
        self._files: OrderedDict[str, io.FileIO] = OrderedDict()  # those read last, at most MAX_OPEN

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": OrderedDict()}  # a copy in another process opens its own

    def read(self, index: int) -> bytes:
        """The content of an image; UserError, with shard and member, where it cannot be read or is not there."""
        path, size = self.shards[self._shard[index]], int(self._size[index])
        image = os.fsdecode(self.paths[index])
        # The tar header is read together with the image: it tells whether the shard is still the one listed.
        at, n_bytes = int(self._offset[index]) - tarfile.BLOCKSIZE, size + tarfile.BLOCKSIZE
        try:
            file = self._files.pop(path, None) or open(path, "rb", buffering=0)  # noqa: SIM115  (kept open)
            try:
                block = os.pread(file.fileno(), n_bytes, at)
            except BaseException:  # a stale handle of a network disk is opened anew the next time
                file.close()
                raise
            self._files[path] = file
            if len(self._files) > MAX_OPEN:
                self._files.popitem(last=False)[1].close()
            header = tarfile.TarInfo.frombuf(block[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        except OSError as error:
            raise UserError(f"image {image} cannot be read: {error.strerror or error}") from None
        except tarfile.TarError:
            header = None
        if header is None or header.size != size or len(block) < n_bytes:
            raise UserError(f"image {image} is not where it was listed: the shard is damaged or has changed since")
        return block[tarfile.BLOCKSIZE :]

    def check_existence(self) -> None:
        """Raises UserError if a shard does not exist here, or has another size than where it was listed."""
        for path, listed in zip(self.shards, self._shard_sizes, strict=True):
            size, _ = _size_and_mtime(path)
            if size != listed:
                raise UserError(f"shard {path} has {size:,d} bytes here, and {listed:,d} where it was listed")


def list_shard_images(paths: Sequence[str], source: str) -> ShardImages:
    """Lists the images of the shards, in their order, with a line on members left out and on shards without an index.

    Raises UserError for a shard that cannot be used, and where there are no images.
    """
    shards, scanned, left_out = [], [], FolderListing()
    for shard, indexed in read_shards(paths):
        shards.append(shard)
        left_out.add(shard.left_out)
        if not indexed:
            scanned.append(shard.path)
    if scanned:
        log.info(
            f"{len(scanned):,d} of {len(paths):,d} shards have no index, or changed after it was written (first: "
            f"{scanned[0]}), so all their tar headers were read; `python -m datasets.training_csv --shards DIR` writes "
            "indexes"
        )
    images = ShardImages(shards)
    account = f"{left_out.left_out.total():,d} members left out ({left_out.reasons()})"
    if not len(images.paths):
        raise UserError(f"{source} holds no images" + (f"; {account}" if left_out.left_out else ""))
    if left_out.left_out:
        log.info(f"{source}: {account}")
    return images


@dataclass
class Written:
    """What ``write_shards`` did: images and shards in the folder, images found there already, and what failed."""

    images: int = 0
    shards: int = 0
    bytes: int = 0
    found: int = 0
    earlier_left_out: int = 0
    unreadable: list[str] = field(default_factory=list)


def write_shards(paths: Sequence[str], folder: Path, megabytes: int = SHARD_MEGABYTES) -> Written:
    """Copies the images, byte for byte and in this order, into ``shard-000000.tar`` and so on, each with an index.

    A shard has at most ``megabytes``, unless one image is larger. Member names are paths relative to the images' common
    folder. Each shard is written completely or not at all; shards that an interrupted call has left are kept, and the
    next images follow. Images that cannot be read, or would not be found in a shard by their names, are left out and
    reported. Raises UserError where ``folder`` holds shards of other images, or another process is writing there.
    """
    absolute = [os.path.abspath(path) for path in paths]
    common = os.path.commonpath([os.path.dirname(path) for path in absolute])  # noqa: PTH120
    names = [os.path.relpath(path, common).replace(os.sep, "/") for path in absolute]
    with hold(folder):
        remove_leftovers(folder)
        written = Written()
        first = _skip_finished(folder, names, written)
        bar = ProgressBar(len(paths), "image")
        bar.add(first)
        contents = _read_files(paths[first:], names[first:], written, bar)
        content = next(contents, None)
        while content is not None:
            path = str(folder / SHARD_NAME.format(written.shards))
            with whole_file(path) as temporary, tarfile.open(temporary, "w", encoding="utf-8") as tar:
                end = 0
                while content is not None and (not end or end + len(content[1]) + _HEADERS <= megabytes * 1_000_000):
                    tar.addfile(content[0], io.BytesIO(content[1]))
                    end = tar.offset
                    written.images += 1
                    content = next(contents, None)
            write_index(scan_shard(path))
            written.shards += 1
            written.bytes += Path(path).stat().st_size
        bar.close()
    return written


def _skip_finished(folder: Path, names: list[str], written: Written) -> int:
    """The position in ``names`` after the images that the shards in ``folder`` hold; writes missing indexes."""
    position = 0
    for path in find_shards(folder):
        expected = SHARD_NAME.format(written.shards)
        if Path(path).name != expected:
            raise UserError(f"{folder} holds {Path(path).name} where {expected} is expected; name an empty folder")
        shard, indexed = read_shard(path)
        before = position
        for member in shard.members:  # in the order of ``names``, with gaps where an image was left out
            try:
                position = names.index(member.name, position) + 1
            except ValueError:  # noqa: PERF203  (few members are missing)
                raise UserError(
                    f"{path} holds {member.name}, which the list of images does not have there; name an empty folder"
                ) from None
        if not indexed:
            write_index(shard)
        written.shards += 1
        written.bytes += shard.size
        written.images += len(shard.members)
        written.found += len(shard.members)
        written.earlier_left_out += position - before - len(shard.members)
    return position


def _read_files(
    paths: Sequence[str], names: Sequence[str], written: Written, bar: ProgressBar
) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The tar header and the content of each file that can be read, and would be found again in a shard."""
    for path, name in zip(paths, names, strict=True):
        bar.add(1)
        header = tarfile.TarInfo(name)
        try:
            with open_image_file(path) as file:
                content = file.read()
                header.size, header.mtime = len(content), int(os.fstat(file.fileno()).st_mtime)
            if reason := reason_to_leave_out_member(name, io.BytesIO(content).read):
                raise UserError(f"image {path} would not be found in a shard ({reason}); rename it")
            yield header, content
        except UserError as error:
            written.unreadable.append(error.sentence)
        except OSError as error:
            written.unreadable.append(f"image {path} cannot be read: {error.strerror or error}")
