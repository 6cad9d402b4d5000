"""The images of each batch, for the whole run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.utils.data import Sampler

from learning.contrastive.training_state import Position
from learning.distributed.process_group import ProcessContext

Batch = Tensor | list[Tensor] | tuple[Tensor, Tensor]
"""The crops of a batch or sample, or its crops and the levels of distortions that they have reached."""


def split_batch(batch: Batch) -> tuple[Tensor, Tensor | None]:
    """The crops, and the levels that they have reached, or None where the data set does not give them."""
    return (batch, None) if isinstance(batch, Tensor) else (batch[0], batch[1])


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """This process's batches of (epoch, image index), from (start_epoch, start_step) to the end of the run.

    One iteration spans all epochs, so that data workers need no pause between two epochs. Each epoch has every image
    once, in an order drawn from (seed, epoch); the last batch is filled up with images from the beginning of that
    order. A batch of ``batch_size`` images is divided equally among the processes, so the images of a step do not
    depend on the number of processes. Epochs count from 1, steps from 0.
    """

    def __init__(
        self,
        n_images: int,
        batch_size: int,
        epochs: int,
        seed: int,
        context: ProcessContext,
        start_epoch: int = 1,
        start_step: int = 0,
    ):
        if batch_size % context.world_size:
            raise ValueError(f"batch_size {batch_size} does not divide over {context.world_size} processes")
        self.n_images = n_images
        self.batch_size = batch_size
        self.epochs = epochs
        self.seed = seed
        self.context = context
        self.start_epoch = start_epoch
        self.start_step = start_step
        self.steps_per_epoch = math.ceil(n_images / batch_size)

    def starting_at(self, position: Position) -> EpochBatches:
        """These batches, from the one after ``position``."""
        self.start_epoch, self.start_step = position.epoch + 1, position.step
        return self

    def epoch_order(self, epoch: int) -> np.ndarray:
        """Image indices of an epoch, (steps_per_epoch, processes, batch_size / processes)."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.n_images)
        padded = np.resize(order, self.steps_per_epoch * self.batch_size)  # np.resize repeats from the beginning
        return padded.reshape(self.steps_per_epoch, self.context.world_size, -1)

    def __len__(self) -> int:
        return (self.epochs - self.start_epoch + 1) * self.steps_per_epoch - self.start_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first_step = self.start_step
        for epoch in range(self.start_epoch, self.epochs + 1):
            for indices in self.epoch_order(epoch)[first_step:, self.context.rank]:
                yield [(epoch, index) for index in indices.tolist()]
            first_step = 0
