"""The list of training images, and what the two training data sets have in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from common.errors import UserError
from datasets.images import read_image
from datasets.tables import read_csv

PATH_COLUMN = "Image_path"


class TrainingImages(NamedTuple):
    """Where they are from, their paths as file-system bytes, (n,), and for a CSV the lines on which they stand, (n,).

    Arrays, since worker processes share them: a million Python strings would be copied into each by their reference
    counts.
    """

    source: str
    paths: np.ndarray
    lines: np.ndarray | None

    def place(self, index: int) -> str:
        """Where an image stands, for messages."""
        return self.source if self.lines is None else f"{self.source}, line {self.lines[index]}"

    def check_existence(self) -> None:
        """Raises UserError with the first line whose image is not there.

        Lists each folder once instead of asking for each file, which is what makes a million images on a network
        disk a matter of seconds.
        """
        listings: dict[bytes, set[bytes]] = {}
        missing = []
        for index, path in enumerate(self.paths):
            folder, name = os.path.split(path)
            if folder not in listings:
                try:
                    listings[folder] = set(os.listdir(folder or b"."))
                except (OSError, ValueError):  # ValueError: a NUL byte in the name
                    listings[folder] = set()
            if name not in listings[folder]:
                missing.append(index)
        if missing:
            path = os.fsdecode(self.paths[missing[0]])
            others = f", and {len(missing) - 1} more of {len(self.paths)}" if len(missing) > 1 else ""
            relative = "" if Path(path).is_absolute() else f" (relative paths start at {Path.cwd()})"
            raise UserError(f"{self.place(missing[0])}: image {path} does not exist{others}{relative}")


def read_training_csv(csv_path: str | os.PathLike) -> TrainingImages:
    """Reads the column ``Image_path``; UserError for a missing file, column or path, and for an empty table."""
    if not Path(csv_path).exists():
        raise UserError(
            f"training CSV {csv_path} does not exist; `python -m datasets.training_csv` makes one, see csv_files/"
        )
    column = read_csv(csv_path, (PATH_COLUMN,), "training CSV")[PATH_COLUMN]
    images = TrainingImages(
        f"training CSV {os.fspath(csv_path)}", np.array([os.fsencode(path) for path in column]), column.index.to_numpy()
    )
    blank = np.flatnonzero(images.paths == b"")
    if len(blank):
        raise UserError(f"{images.place(blank[0])}: the column '{PATH_COLUMN}' is empty")
    return images


class EpochImages:
    """Images by (epoch, index): the epoch is the one last given to ``set_epoch``, or comes with the index.

    With ``[epoch, i]`` a sampler can ask for the next epoch's images while this one's are still on their way.
    """

    def __init__(self, images: TrainingImages):
        self.images = images
        # In shared memory, so that persistent workers see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.images.paths)

    def epoch_and_index(self, key: int | tuple[int, int]) -> tuple[int, int]:
        """``i`` or ``(epoch, i)`` -> (epoch, i); IndexError for an image that is not there."""
        epoch, index = key if isinstance(key, tuple) else (int(self._epoch), key)
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return epoch, index % len(self)

    def read(self, index: int) -> np.ndarray:
        """Image ``index``, uint8 RGB (H, W, 3); UserError, with the place in the list, where it cannot be read."""
        try:
            return read_image(os.fsdecode(self.images.paths[index]))
        except UserError as error:
            raise UserError(f"{self.images.place(index)}: {error}") from None
