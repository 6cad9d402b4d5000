"""The learning rate at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

WARM_UP_START = 0.01


@dataclass(frozen=True)
class Schedule:
    """Cosine or step decay, with a linear warm-up by step. Epochs count from 1, steps from 0.

    The cosine moves once an epoch, as released: the last epoch has the lowest rate throughout. With ``by_step`` the
    same curve moves at every step; the two agree at the last step of each epoch.
    """

    learning_rate: float
    epochs: int
    cosine: bool
    decay_rate: float
    decay_epochs: tuple[int, ...]
    warm: bool
    by_step: bool = False

    @property
    def warm_up_epochs(self) -> int:
        if not self.warm:
            return 0
        return 10 if self.epochs > 500 else 5

    def at_epoch(self, epoch: int) -> float:
        """The decayed learning rate of an epoch (``by_step``: of its last step), without warm-up."""
        if self.cosine:
            return self._cosine(epoch)
        n_decays = sum(decay_epoch < epoch for decay_epoch in self.decay_epochs)
        return self.learning_rate * self.decay_rate**n_decays

    def at_step(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """The learning rate of step 0..steps_per_epoch-1 of an epoch.

        During the W warm-up epochs it rises linearly from 0.01 to the schedule's value at epoch W.
        """
        warm_up_epochs = self.warm_up_epochs
        if epoch > warm_up_epochs:
            if self.cosine and self.by_step:
                return self._cosine(epoch - 1 + (step + 1) / steps_per_epoch)
            return self.at_epoch(epoch)
        progress = (step + (epoch - 1) * steps_per_epoch) / (warm_up_epochs * steps_per_epoch)
        return WARM_UP_START + progress * (self.at_epoch(warm_up_epochs) - WARM_UP_START)

    def _cosine(self, epochs: float) -> float:
        """The cosine after ``epochs`` epochs, down to eta_min = learning_rate * decay_rate^3."""
        lowest = self.learning_rate * self.decay_rate**3
        return lowest + (self.learning_rate - lowest) * (1 + math.cos(math.pi * epochs / self.epochs)) / 2
