"""Images in tar files (shards): read one by one in any order, never extracted.

The format is WebDataset's: plain tar files of images. The webdataset library itself streams through a shuffle buffer
and cannot continue at an exact step. Here a list of places (shard, offset, size) gives each image by its index, so that
samples, shuffling and resuming are those of single files, without the cost of opening a file for each image.
"""

from __future__ import annotations

import functools
import io
import os
import posixpath
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import numpy as np

from common import log
from common.progress_bar import ProgressBar
from datasets.images.folders import THUMBNAILS, FolderListing, is_system_folder, reason_to_leave_out
from networks.errors import UserError
from networks.images.formats import starts_like_an_image

SHARDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Endings of shards. Compressed ones are refused."""

N_SCANNED = 16
"""Shards that are scanned at once: on a network disk, a scan waits for most of its time."""

MAX_OPEN = 128
"""Number of shards that a process keeps open."""

SPECIAL = "links, sparse and special files"


class Member(NamedTuple):
    """An image in a shard: its first byte, its number of bytes, its name."""

    offset: int
    size: int
    name: str


def find_shards(folder: str | os.PathLike) -> list[str]:
    """The tar files in ``folder``, sorted; without hidden ones, which are being written."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(SHARDS) and not name.startswith("."))
    return [os.path.join(folder, name) for name in names]


def scan_shard(path: str) -> tuple[list[Member], Counter[str]]:
    """The images of a shard, in its order, from its tar headers, and its other members: reason -> number.

    Raises UserError for a shard that is not there, is compressed, damaged or truncated.
    """
    members, left_out = [], Counter[str]()
    try:
        with open(path, "rb") as file:
            with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
                    if member.isdir():
                        continue
                    reason = _reason_to_leave_out(tar, member)
                    if reason is None:
                        members.append(Member(member.offset_data, member.size, member.name))
                    else:
                        left_out[reason] += 1
                end = tar.offset
            file.seek(end)
            # Python ends without an error at a header that it cannot read.
            padding = file.read(tarfile.RECORDSIZE)
    except tarfile.TarError as error:
        raise UserError(
            f"shard {path} is compressed, no tar file, damaged or truncated ({error}); plain tar files are read"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise UserError(f"shard {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(padding) < tarfile.BLOCKSIZE:
        raise UserError(f"shard {path} is truncated: it ends at byte {end:,d} without a tar file's end mark")
    if any(padding):
        raise UserError(f"shard {path} has no tar header at byte {end:,d}: it is damaged, or several archives in one")
    return members, left_out


def _reason_to_leave_out(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str | None:
    """Why a member of a shard is not one of its images; None for an image."""
    content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if content is None:
        return SPECIAL
    folder, name = posixpath.split(member.name)
    if any(is_system_folder(part) for part in folder.split("/") if part not in (".", "..")):
        return THUMBNAILS
    return reason_to_leave_out(name, lambda: starts_like_an_image(content.read(32)))


@functools.lru_cache(MAX_OPEN)
def _open(path: str) -> io.FileIO:
    """A shard, kept open. Read by ``os.pread``, so that processes can share it."""
    return open(path, "rb", buffering=0)


class ShardImages:
    """The images of several shards, by index. Arrays, which worker processes share."""

    def __init__(self, shards: Mapping[str, Sequence[Member]]):
        members = [member for of_shard in shards.values() for member in of_shard]
        self.shards = list(shards)
        self._shard = np.repeat(np.arange(len(shards), dtype=np.int32), [len(one) for one in shards.values()])
        self._offset = np.array([member.offset for member in members], np.int64)
        self._size = np.array([member.size for member in members], np.int64)
        self.paths = np.array(
            [os.fsencode(f"{path}: {member.name}") for path, of_shard in shards.items() for member in of_shard]
        )
        """``shard.tar: member`` as file-system bytes, (n,): names for messages."""

    def read(self, index: int) -> bytes:
        """The content of an image; UserError, with shard and member, where it cannot be read or is not there."""
        path, size = self.shards[self._shard[index]], int(self._size[index])
        image = os.fsdecode(self.paths[index])
        # The tar header is read together with the image: it tells whether the shard is still the one listed.
        at, n_bytes = int(self._offset[index]) - tarfile.BLOCKSIZE, size + tarfile.BLOCKSIZE
        try:
            block = os.pread(_open(path).fileno(), n_bytes, at)
            header = tarfile.TarInfo.frombuf(block[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        except OSError as error:
            _open.cache_clear()  # a stale handle of a network disk is opened anew the next time
            raise UserError(f"image {image} cannot be read: {error.strerror or error}") from None
        except tarfile.TarError:
            header = None
        if header is None or header.size != size or len(block) < n_bytes:
            raise UserError(f"image {image} is not where it was listed: the shard is damaged or has changed since")
        return block[tarfile.BLOCKSIZE :]


def list_shard_images(paths: Sequence[str], source: str) -> ShardImages:
    """Lists the images of the shards, in their order, with a line on members left out.

    Raises UserError for a shard that cannot be used, and where there are no images.
    """
    shards, listing, bar = {}, FolderListing(), ProgressBar(len(paths), "shard")
    with ThreadPool(N_SCANNED) as pool:
        for path, (members, left_out) in zip(paths, pool.imap(scan_shard, paths), strict=True):
            shards[path] = members
            listing.left_out.update(left_out)
            bar.add(1)
    bar.close()
    images = ShardImages(shards)
    if not len(images.paths):
        raise UserError(f"{source} hold no images{listing.account()}")
    if listing.left_out:
        log.info(f"{source}: {len(images.paths):,d} images{listing.account()}")
    return images
