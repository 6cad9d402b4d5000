"""The learning rate at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

WARM_UP_START = 0.01


@dataclass(frozen=True)
class Schedule:
    """Cosine or step decay by epoch, with a linear warm-up by step. Epochs count from 1, steps from 0."""

    learning_rate: float
    epochs: int
    cosine: bool
    decay_rate: float
    decay_epochs: tuple[int, ...]
    warm: bool

    @property
    def warm_up_epochs(self) -> int:
        if not self.warm:
            return 0
        return 10 if self.epochs > 500 else 5

    def at_epoch(self, epoch: int) -> float:
        """The decayed learning rate of an epoch, without warm-up."""
        if self.cosine:
            lowest = self.learning_rate * self.decay_rate**3
            return lowest + (self.learning_rate - lowest) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        n_decays = sum(decay_epoch < epoch for decay_epoch in self.decay_epochs)
        return self.learning_rate * self.decay_rate**n_decays

    def at_step(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """The learning rate of step 0..steps_per_epoch-1 of an epoch.

        During the W warm-up epochs it rises linearly from 0.01 to the schedule's value at epoch W.
        """
        warm_up_epochs = self.warm_up_epochs
        if epoch > warm_up_epochs:
            return self.at_epoch(epoch)
        progress = (step + (epoch - 1) * steps_per_epoch) / (warm_up_epochs * steps_per_epoch)
        return WARM_UP_START + progress * (self.at_epoch(warm_up_epochs) - WARM_UP_START)
