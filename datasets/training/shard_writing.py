"""Copying images into tar files (shards), to be continued after an interruption. ``shards`` reads them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.atomic_files import remove_leftovers, whole_file
from common.errors import UserError
from common.folder_lock import hold
from common.progress_bar import ProgressBar
from datasets.images.reading import open_image_file
from datasets.training.shards import find_shards, read_shard, reason_to_leave_out_member, scan_shard, write_index

SHARD_NAME = "shard-{:06d}.tar"

SHARD_MEGABYTES = 1000
"""Default limit of a shard. 740,000 images of 150 kB are 111 shards, fewer than a process keeps open."""

_HEADERS = 4 * tarfile.BLOCKSIZE
"""Bytes reserved for the headers of a member with a long name, and for the end of the shard."""


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
        except UserError as error:
            written.unreadable.append(error.sentence)
            continue
        except OSError as error:
            written.unreadable.append(f"image {path} cannot be read: {error.strerror or error}")
            continue
        reason = reason_to_leave_out_member(name, io.BytesIO(content).read)
        if reason is None:
            yield header, content
        else:
            written.unreadable.append(f"image {path} would not be found in a shard ({reason}); rename it")
