"""The images of each batch, for the whole run, and the account of images that cannot be read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from common import log
from common.errors import UserError
from common.names import PATH_COLUMN
from datasets.opinions.tables import IMAGE, read_csv, write_csv
from datasets.training.image_lists import EpochImages
from datasets.training.workers import worker_starter
from learning.distributed.process_group import ProcessContext, gather_objects

BAD_IMAGES = "bad_images.csv"
N_NAMED = 5


class Position(NamedTuple):
    """The progress of a training: complete epochs, steps done in the epoch after them, and steps done in all."""

    epoch: int = 0
    step: int = 0
    global_step: int = 0

    def after_step(self, steps_per_epoch: int) -> Position:
        """The position one step later."""
        if self.step + 1 < steps_per_epoch:
            return Position(self.epoch, self.step + 1, self.global_step + 1)
        return Position(self.epoch + 1, 0, self.global_step + 1)

    @property
    def at_epoch_end(self) -> bool:
        return self.step == 0

    def __str__(self) -> str:
        return f"epoch {self.epoch}" if self.step == 0 else f"step {self.step} of epoch {self.epoch + 1}"


def epoch_batches(
    n_images: int, batch_size: int, epochs: int, seed: int, context: ProcessContext, start: Position
) -> Iterator[list[tuple[int, int]]]:
    """This process's batches of (epoch, image index), from the one after ``start`` to the end of the run.

    They span all epochs, so that data workers need no pause between two epochs. Each epoch has every image once, in an
    order drawn from (seed, epoch); the last batch is filled up with images from the beginning of that order. A batch of
    ``batch_size`` images is divided equally among the processes, so the images of a step do not depend on the number of
    processes. Epochs count from 1. Raises ValueError for a batch that cannot be divided.
    """
    if batch_size % context.world_size:
        raise ValueError(f"batch_size {batch_size} does not divide over {context.world_size} processes")
    steps_per_epoch = math.ceil(n_images / batch_size)
    first_step = start.step
    for epoch in range(start.epoch + 1, epochs + 1):
        order = np.random.default_rng((seed, epoch)).permutation(n_images)
        padded = np.resize(order, steps_per_epoch * batch_size)  # np.resize repeats from the beginning
        of_process = padded.reshape(steps_per_epoch, context.world_size, -1)[:, context.rank]
        for indices in of_process[first_step:].tolist():
            yield [(epoch, index) for index in indices]
        first_step = 0


class Samples(Dataset):
    """``[epoch, index]`` is the pair of ``EpochImages.sample``: crops, and the levels that they have reached."""

    def __init__(self, dataset: EpochImages):
        self._dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        return self._dataset.sample(*key)


def build_loader(
    dataset: EpochImages,
    batches: Iterable[list[tuple[int, int]]],
    n_workers: int,
    context: ProcessContext,
    device: torch.device,
) -> DataLoader:
    """A loader of this process's batches, with its share of the node's ``n_workers``.

    A batch is a pair of crops, uint8 (images, rows, 6, P, P), and levels reached, uint8 (images, rows, levels).
    """
    share = n_workers // context.local_size + (context.local_rank < n_workers % context.local_size)
    return DataLoader(
        Samples(dataset),
        batch_sampler=batches,
        num_workers=share,
        pin_memory=device.type == "cuda",
        worker_init_fn=worker_starter(),
    )


class BadImages:
    """Counts the images that could not be read, in all processes together; the data set replaces them.

    Rank 0 keeps the list in ``folder``, the run's folder. At most ``max_share`` of the images may be unreadable. A
    ``resumed`` run adds to the existing list.
    """

    def __init__(
        self, dataset: EpochImages, folder: Path, max_share: float, context: ProcessContext, resumed: bool = False
    ):
        self._dataset = dataset
        self._path = folder / BAD_IMAGES
        self._max_share = max_share
        self._context = context
        self._known: set[int] = set()
        self._listed: dict[str, str] = {}  # path -> reason
        if context.is_first and not resumed:
            self._path.unlink(missing_ok=True)
        elif context.is_first and self._path.exists():
            table = read_csv(self._path, (PATH_COLUMN,), "list of bad images")
            self._listed = dict(zip(table[IMAGE], table["why"], strict=True))

    def check(self) -> None:
        """Reports new ones. Every process must call it at the same step; it raises UserError in each for too many."""
        own = set(self._dataset.unreadable().tolist()) - self._known
        new = sorted(own.union(*gather_objects(own, self._context)) - self._known)
        if not new:
            return
        self._known.update(new)
        n_bad, n_images = len(self._known), len(self._dataset)
        if self._context.is_first:
            for number, index in enumerate(new, start=n_bad - len(new) + 1):
                reason = self._listed[self._dataset.images.path(index)] = self._dataset.why_unreadable(index)
                if number <= N_NAMED:
                    log.warning(f"unreadable image, replaced by another: {reason}")
            if n_bad > N_NAMED:
                log.warning(f"{n_bad:,d} unreadable images replaced so far, see {self._path}")
            write_csv(self._path, (PATH_COLUMN, "why"), sorted(self._listed.items()))
        if n_bad > self._max_share * n_images:
            raise UserError(
                f"{n_bad:,d} of {n_images:,d} training images cannot be read, more than --max_bad "
                f"{100 * self._max_share:g} % allows; {self._path} lists them"
            )
