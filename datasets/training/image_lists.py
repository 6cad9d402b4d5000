"""The list of training images, single files or in shards, and the common part of the two training data sets."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from common import log
from common.names import PATH_COLUMN
from datasets.images.folders import scan_folder
from datasets.images.lists import LIST_SUFFIX, paths_in_list
from datasets.opinions.tables import IMAGE, read_csv
from datasets.training.shards import SHARDS, ShardImages, find_shards, list_shard_images
from networks.errors import UserError
from networks.images.formats import MAX_PIXELS
from networks.images.reading import read_image

_SUBSTITUTES = 10
"""Number of images that are tried in place of an unreadable one."""

N_ASKED = 32
"""Files that the disk is asked for at once."""


class TrainingImages(NamedTuple):
    """Their source, their paths as file-system bytes, (n,), and if the source is a CSV their line numbers, (n,).

    Arrays, since worker processes share them: a million Python strings would be copied into each worker as their
    reference counts change. If the images are in shards, a path is ``shard.tar: member``.
    """

    source: str
    paths: np.ndarray
    lines: np.ndarray | None
    shards: ShardImages | None = None

    def place(self, index: int) -> str:
        """The source and line of an image, for messages."""
        return self.source if self.lines is None else f"{self.source}, line {self.lines[index]}"

    def path(self, index: int) -> str:
        return os.fsdecode(self.paths[index])

    def read(self, index: int, max_pixels: int) -> np.ndarray:
        """An image, uint8 RGB (H, W, 3); UserError, with its path, where it cannot be read."""
        if self.shards is None:
            return read_image(self.path(index), max_pixels)
        return read_image(self.path(index), max_pixels, self.shards.read(index))

    def check_existence(self) -> None:
        """Raises UserError with the first line whose image does not exist, or with the first missing shard.

        Asks for many at once, so that a million images on a network disk take seconds.
        """
        what, paths = ("image", self.paths) if self.shards is None else ("shard", self.shards.shards)
        with ThreadPool(N_ASKED) as pool:
            missing = [index for index, exists in enumerate(pool.map(os.path.exists, paths)) if not exists]
        if missing:
            path = os.fsdecode(paths[missing[0]])
            others = f", and {len(missing) - 1} more of {len(paths)}" if len(missing) > 1 else ""
            relative = "" if Path(path).is_absolute() else f" (relative paths start at {Path.cwd()})"
            raise UserError(f"{self.place(missing[0])}: {what} {path} does not exist{others}{relative}")


def read_training_csv(csv_path: str | os.PathLike) -> TrainingImages:
    """Reads the column ``Image_path``, or lists the images of tar shards.

    ``csv_path`` is a CSV of images, a tar file, several as a glob or in WebDataset's notation with braces, a folder of
    tar files, or a ``.txt`` file of their paths. Raises UserError for a missing file, column or path, for an
    empty table, and for a shard that cannot be used.
    """
    path, source = Path(csv_path), f"shards {csv_path}"
    shards: list[str] = []
    if path.is_dir():
        shards = find_shards(path)
        if not shards:
            raise UserError(f"folder {csv_path} holds no tar files; `python -m datasets.training_csv` lists images")
    elif path.name.endswith(SHARDS):
        shards = _expand(os.fspath(csv_path))
    elif not path.exists():
        raise UserError(
            f"training CSV {csv_path} does not exist; `python -m datasets.training_csv` makes one, see csv_files/"
        )
    elif path.suffix.lower() == LIST_SUFFIX:
        shards = [one for one, *_ in paths_in_list(path.read_bytes(), path.parent)]
        shards = shards if all(one.endswith(SHARDS) for one in shards) else []
    if not shards:
        column = read_csv(csv_path, (PATH_COLUMN,), "training CSV")[IMAGE]
        paths = np.array([os.fsencode(path) for path in column])
        images = TrainingImages(f"training CSV {os.fspath(csv_path)}", paths, column.index.to_numpy())
        blank = np.flatnonzero(paths == b"")
        if len(blank):
            raise UserError(f"{images.place(blank[0])}: the column '{PATH_COLUMN}' is empty")
        of_shards = [index for index, path in enumerate(column) if path.endswith(SHARDS)]
        if of_shards:
            first = of_shards[0]
            raise UserError(f"{images.place(first)}: {images.path(first)} is a shard; list shards in a .txt file")
        return images
    members = list_shard_images(shards, source)
    return TrainingImages(source, members.paths, None, members)


def _expand(pattern: str) -> list[str]:
    """The paths that a pattern means: ``{000..012}`` counts, ``{a,b}`` names each part, and a glob fits existing files.

    A pattern that fits no file stays as it is, to be reported as missing.
    """
    if os.path.lexists(pattern):
        return [pattern]
    braces = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", pattern)
    if braces is None:
        return sorted(glob.glob(pattern, recursive=True)) or [pattern]  # noqa: PTH207
    first, last, names = braces.groups()
    if names is None:
        names = ",".join(f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [path for name in names.split(",") for path in _expand(before + name + after)]


class EpochImages(Dataset):
    """Crops by ``[epoch, index]``, or by ``[index]`` in the epoch last given to ``set_epoch``: uint8 (rows, 6, P, P).

    Training calls ``sample``, since workers load images of the next epoch while those of the present one are in use.
    """

    def __init__(self, images: TrainingImages, seed: int, max_pixels: int = MAX_PIXELS):
        self.images = images
        self.seed = seed
        self._max_pixels = max_pixels
        # In shared memory: workers see a new epoch, and the main process sees which images they could not read.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._unreadable = torch.zeros(len(images.paths), dtype=torch.uint8).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.images.paths)

    def sample(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """The crops of image ``index``, uint8 (rows, 6, P, P): query in channels 0-2, key in 3-5.

        Also the levels of distortions that each row has reached, uint8 (rows, levels), 0 or 1.
        """
        raise NotImplementedError

    def __getitem__(self, key: int | tuple[int, int]) -> Tensor:
        epoch, index = key if isinstance(key, tuple) else (int(self._epoch), key)
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self.sample(epoch, index % len(self))[0]

    def read(self, epoch: int, index: int) -> np.ndarray:
        """Image ``index``, uint8 RGB (H, W, 3), or another image in its place if it cannot be read.

        The other image depends on (seed, epoch, index) alone, so a run with unreadable images is repeatable. Raises
        UserError, with the line in the list, if none of ``_SUBSTITUTES`` other images can be read either.
        """
        try:
            return self._read(index)
        except UserError as error:
            failure = error
        rng = np.random.default_rng((self.seed, epoch, index, _SUBSTITUTES))
        for other in rng.integers(len(self), size=_SUBSTITUTES):
            with contextlib.suppress(UserError):
                return self._read(int(other))
        raise UserError(f"{failure}, and none of {_SUBSTITUTES} others drawn in its place can be read") from None

    def _read(self, index: int) -> np.ndarray:
        try:
            return self.images.read(index, self._max_pixels)
        except UserError as error:
            self._unreadable[index] = 1
            raise UserError(f"{self.images.place(index)}: {error}") from None

    def unreadable(self) -> np.ndarray:
        """Indices of the images that could not be read so far, by any worker of this process."""
        return np.flatnonzero(self._unreadable.numpy())

    def why_unreadable(self, index: int) -> str:
        """A sentence on an image that could not be read."""
        try:
            self._read(index)
        except UserError as error:
            return str(error)
        return f"{self.images.place(index)}: image {self.images.path(index)} could not be read at first"


def scan_data_folder(folder: str | os.PathLike) -> TrainingImages:
    """The images of an ImageNet folder (``DIR/train/<class>/*.JPEG``), or of any other tree.

    Raises UserError for a folder that is not there or holds no images.
    """
    root = Path(folder, "train") if Path(folder, "train").is_dir() else Path(folder)
    log.info(f"listing the images below {root}")
    listing = scan_folder(root)
    if not listing.images:
        raise UserError(f"{root} holds no images{listing.why_empty()}")
    return TrainingImages(f"folder {root}", np.array(list(map(os.fsencode, listing.images))), None)
