"""How well the features predict opinions while the encoder trains (``--probe``).

A probe set is measured on small windows, so that a measurement takes a small share of the training's time. The ranks
share its images. Every window is a batch of its own, so the result does not depend on the number of ranks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from common import log, machine
from common.names import N_SPLITS, SHARES
from datasets.images.resampling import half_size_exactly
from datasets.opinions.scores import read_scores
from datasets.training.crops import centre
from learning.contrastive.training_log import Measurement
from learning.contrastive.training_state import Position
from learning.distributed.environment import ProcessContext
from learning.distributed.process_group import from_first, gather_objects
from learning.regression.evaluate.protocol import run_protocol
from learning.regression.fit.search import Grid
from learning.regression.fit.splits import random_splits
from networks.errors import UserError
from networks.features import FeatureExtractor
from networks.images.reading import read_image
from options.contrast import ContrastOptions

WINDOW = 256
"""Largest side of a window of a labelled image, in pixels, at full size and at half size."""

N_MEASUREMENTS = 10
"""Measurements of a run by default."""


class ProbeSet:
    """Photographs with opinion scores: SRCC and PLCC of a Ridge regressor on held-out images, the median of 10 splits.

    The splits are the same in every measurement and keep groups together.

    ``windows`` gives the windows of an image, uint8 (h, w, 3): its centre, and its centre at half size. ``judge`` gives
    metric -> value from the features of all windows, (images, windows, F); the first metric decides which encoder is
    best. Raises UserError for a table that cannot be used.
    """

    def __init__(self, csv_path: Path):
        self.source = csv_path
        scores = read_scores(csv_path)
        self.digest = hashlib.sha256(csv_path.read_bytes()).hexdigest()
        self._paths = [csv_path.parent / image for image in scores.images]
        self._mos = scores.mos
        if self._mos.min() == self._mos.max():
            raise UserError(f"--probe {csv_path}: all scores are {self._mos[0]:g}; no encoder agrees with them")
        self._splits = random_splits(len(scores), scores.groups, N_SPLITS, SHARES, seed=0)
        self.n_images = len(scores)

    def windows(self, index: int) -> list[np.ndarray]:
        image = read_image(self._paths[index])
        return [centre(image, WINDOW), centre(half_size_exactly(centre(image, 2 * WINDOW)), WINDOW)]

    def judge(self, features: np.ndarray) -> dict[str, float]:
        grid, features = Grid(estimators=("ridge",)), features.reshape(self.n_images, -1)
        # Without memory for further processes: a search starts none beside a training.
        tested = run_protocol(features, self._mos, self._splits, grid, machine.n_cores(), memory=0).tests["nested"]
        return {"SRCC": tested.median("srcc"), "PLCC": tested.median("plcc_raw")}


class Probe:
    """Measures ``encoder`` every ``every`` steps and at the end of the training, and remembers the best measurement.

    Rank 0 reads the table that ``--probe`` names. Each rank reads and measures its share of the
    images, and rank 0 has the result. The run has ``n_steps`` steps. Raises UserError for an unreadable image.
    """

    def __init__(
        self, options: ContrastOptions, encoder: nn.Module, context: ProcessContext, device: torch.device, n_steps: int
    ):
        assert options.probe is not None
        path = options.probe
        self._options = options
        self._encoder = encoder
        self._context = context
        self._device = device
        self._set = from_first(lambda: ProbeSet(path), context)
        own = range(context.rank, self._set.n_images, context.world_size)
        self._windows = {index: self._set.windows(index) for index in own}
        self.every = options.probe_every or math.ceil(n_steps / N_MEASUREMENTS)
        self.best: Measurement | None = None
        log.info(f"probe: {self._set.n_images:,d} images of {path}, measured every {self.every:,d} steps")

    def is_due(self, position: Position) -> bool:
        """Whether to measure after the step that led to ``position``."""
        return position.global_step % self.every == 0 or position.epoch == self._options.epochs

    def measure(self, position: Position, report: Callable[[Measurement, Measurement], object]) -> bool:
        """Measures the current encoder. Returns whether it is the best so far; False on all ranks except rank 0.

        Calls ``report`` on rank 0 with the measurement and the best one so far.
        """
        extractor = FeatureExtractor(self._encoder, self._options.views == "content", self._device, self._options.amp)
        own = {
            index: [extractor(torch.from_numpy(window)[None])[0].cpu().numpy() for window in windows]
            for index, windows in self._windows.items()
        }
        parts = gather_objects(own, self._context)
        if not self._context.is_first:
            return False
        of_image = {index: features for part in parts for index, features in part.items()}
        features = np.array([of_image[index] for index in range(self._set.n_images)])
        measured = Measurement(self._set.judge(features), position)
        if self.best is None or measured.value > self.best.value:
            self.best = measured
        report(measured, self.best)
        return measured is self.best

    def state(self) -> dict[str, Any]:
        """The entry ``probe`` of a checkpoint: the probe set, which has influenced the choice, and the best encoder."""
        best = self.best and {"metrics": self.best.metrics, "position": list(self.best.position)}
        return {"source": str(self._set.source), "digest": self._set.digest, "best": best}

    def load_state(self, state: dict[str, Any] | None) -> None:
        """Continues from the entry ``probe`` of a checkpoint, unless that run had a different probe set."""
        if state and state["best"] and state["digest"] == self._set.digest:
            self.best = Measurement(state["best"]["metrics"], Position(*state["best"]["position"]))
