"""The learning rate at every step: cosine or step decay, with a linear warm-up. Epochs count from 1, steps from 0."""

from __future__ import annotations

import math

from options.contrast import ContrastOptions

WARM_UP_START = 0.01


def learning_rate_at(options: ContrastOptions, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The learning rate of step 0..steps_per_epoch-1 of an epoch.

    The cosine moves once an epoch, as released: the last epoch has the lowest rate throughout. With ``--schedule step``
    the same curve moves at every step; the two agree at the last step of each epoch. During the W warm-up epochs the
    rate rises linearly from 0.01 to the schedule's value at epoch W.
    """
    warm_up_epochs = (10 if options.epochs > 500 else 5) if options.warm else 0
    if epoch <= warm_up_epochs:
        progress = (step + (epoch - 1) * steps_per_epoch) / (warm_up_epochs * steps_per_epoch)
        return WARM_UP_START + progress * (decayed_rate(options, warm_up_epochs) - WARM_UP_START)
    if options.schedule == "step":
        return decayed_rate(options, epoch - 1 + (step + 1) / steps_per_epoch)
    return decayed_rate(options, epoch)


def decayed_rate(options: ContrastOptions, epochs: float) -> float:
    """The learning rate after ``epochs`` epochs, without warm-up: the decay of ``--cosine``, else of steps.

    The cosine goes down to eta_min = learning_rate * lr_decay_rate^3.
    """
    if options.cosine:
        lowest = options.learning_rate * options.lr_decay_rate**3
        return lowest + (options.learning_rate - lowest) * (1 + math.cos(math.pi * epochs / options.epochs)) / 2
    n_decays = sum(decay_epoch < epochs for decay_epoch in options.lr_decay_epochs)
    return options.learning_rate * options.lr_decay_rate**n_decays
