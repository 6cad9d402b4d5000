"""What a person sees of a running training: a bar or lines, and TensorBoard curves."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid
from tqdm import tqdm

from common.errors import UserError
from learning.distributed import Place, mean_over_processes

N_PICTURED_PAIRS = 12


class Progress:
    """Collects what each step measured and reports it every ``print_freq`` steps and at an epoch's end.

    Losses stay on the device until they are reported, so that a step need not wait for the one before. Each step's
    value, the mean over all processes, goes to TensorBoard under ``loss``, ``acc`` and ``learning_rate``. Only the
    first process writes and prints.
    """

    def __init__(self, place: Place, folder: Path, print_freq: int, steps_per_epoch: int, epochs: int, first_step: int):
        self.place = place
        self.print_freq = print_freq
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self._pending: list[tuple[int, float, Tensor]] = []
        self._writer = None
        self._bar = None
        if place.is_first:
            try:
                # What an interrupted run wrote beyond its checkpoint is hidden, so that the curve has no doubles.
                self._writer = SummaryWriter(str(folder), purge_step=first_step)
            except OSError as error:
                raise UserError(f"--tb_path: {folder} cannot be written: {error.strerror}") from None

    def start_epoch(self, epoch: int, first_step: int) -> None:
        self._epoch = epoch
        self._started = self._reported = time.perf_counter()
        self._first_step = first_step
        self._waited = 0.0
        self._images = 0
        if self.place.is_first and sys.stderr.isatty() and sys.stdout.isatty():
            self._bar = tqdm(
                total=self.steps_per_epoch,
                initial=first_step,
                desc=f"epoch {epoch}/{self.epochs}",
                unit="step",
                dynamic_ncols=True,
            )

    def step(self, step: int, n_images: int, waited: float, learning_rate: float, loss: Tensor, acc: Tensor) -> None:
        """Notes one step: images of all processes, seconds waited for data, and this process's loss and accuracy."""
        global_step = (self._epoch - 1) * self.steps_per_epoch + step
        self._pending.append((global_step, learning_rate, torch.stack([loss.detach(), acc.detach()])))
        self._images += n_images
        self._waited += waited
        if self._bar:
            self._bar.update()
        if (step + 1) % self.print_freq == 0 or step + 1 == self.steps_per_epoch:
            self._report(step)

    def _report(self, step: int) -> None:
        figures = mean_over_processes(torch.stack([figures for _, _, figures in self._pending])).tolist()
        if not self.place.is_first:
            self._pending.clear()
        self._stop_unless_finite([loss for loss, _ in figures], step)
        for (global_step, learning_rate, _), (loss, acc) in zip(self._pending, figures, strict=False):
            self._writer.add_scalar("loss", loss, global_step)
            self._writer.add_scalar("acc", acc, global_step)
            self._writer.add_scalar("learning_rate", learning_rate, global_step)
        if self.place.is_first:
            learning_rate = self._pending[-1][1]
            loss, acc = (sum(column) / len(figures) for column in zip(*figures, strict=True))
            self._show(step, loss, acc, learning_rate)
        self._pending.clear()
        self._images, self._waited, self._reported = 0, 0.0, time.perf_counter()

    def _show(self, step: int, loss: float, acc: float, learning_rate: float) -> None:
        elapsed = time.perf_counter() - self._reported
        text = (
            f"loss {loss:.3f}  acc {acc:.2f}%  lr {learning_rate:.4g}  "
            f"{self._images / elapsed:.1f} images/s  waiting {self._waited / elapsed:.0%}"
        )
        if self._bar:
            self._bar.set_postfix_str(text)
            return
        done = step + 1
        rate = (time.perf_counter() - self._started) / (done - self._first_step)
        remaining = tqdm.format_interval(rate * (self.steps_per_epoch - done))
        print(f"epoch {self._epoch}/{self.epochs}  step {done}/{self.steps_per_epoch}  {text}  left {remaining}")
        sys.stdout.flush()

    def _stop_unless_finite(self, losses: list[float], step: int) -> None:
        for before_last, loss in enumerate(reversed(losses)):
            if loss != loss or loss in (float("inf"), float("-inf")):
                raise UserError(
                    f"the loss is {loss} in epoch {self._epoch}, step {step + 1 - before_last}: training stopped, the "
                    "last checkpoint stands; a lower --learning_rate, --warm or no --amp may help"
                )

    def end_epoch(self) -> None:
        if self._bar:
            self._bar.close()
            self._bar = None
        if self._writer:
            self._writer.flush()

    def picture(self, crops: Tensor) -> None:
        """Shows query (above) and key (below) of a few rows of ``crops``, uint8 (rows, 6, P, P), in TensorBoard."""
        if self._writer is None:
            return
        chosen = torch.linspace(0, len(crops) - 1, min(N_PICTURED_PAIRS, len(crops))).long()
        pairs = torch.cat([crops[chosen, :3], crops[chosen, 3:]])
        self._writer.add_image("query_above_key", make_grid(pairs, nrow=len(chosen)), 0)
        self._writer.flush()

    def say(self, text: str) -> None:
        """A line for the person at the terminal, from the first process."""
        if self.place.is_first:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        self.end_epoch()
        if self._writer:
            self._writer.close()
