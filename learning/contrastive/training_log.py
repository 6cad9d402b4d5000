"""What a person sees of a running training: a bar or lines, and TensorBoard curves."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid
from tqdm import tqdm

from common.errors import UserError
from learning.distributed.process_group import ProcessContext, mean_over_processes

N_PICTURED_PAIRS = 12
NEVER = 10**9  # seconds


class Progress:
    """Collects what each step measured and reports it every ``print_freq`` steps and at an epoch's end.

    Losses stay on the device until they are reported, so that a step need not wait for the one before. Each step's
    value, the mean over all processes, goes to TensorBoard under ``loss``, ``acc`` and ``learning_rate``. Only the
    first process writes and prints.
    """

    def __init__(
        self, context: ProcessContext, folder: Path, print_freq: int, steps_per_epoch: int, epochs: int, first_step: int
    ):
        self.context = context
        self._folder = folder
        self.print_freq = print_freq
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self._pending: list[tuple[int, float, Tensor]] = []
        self._writer = None
        self._bar = None
        if context.is_first:
            threading.excepthook = _report_unless_tensorboard
            with self._writing():
                # What an interrupted run wrote beyond its checkpoint is hidden, so that the curve has no doubles.
                # And it is written when a report is due, not by a thread at a time of its own.
                self._writer = SummaryWriter(str(folder), purge_step=first_step, flush_secs=NEVER)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises UserError for what keeps TensorBoard's files from being written."""
        try:
            yield
        except OSError as error:
            self._writer = None
            raise UserError(f"--tb_path: {self._folder} cannot be written: {error.strerror or error}") from None

    def start_epoch(self, epoch: int, first_step: int, first_global_step: int) -> None:
        """Begins at ``first_step`` of an epoch whose step 0 is ``first_global_step`` in the curves."""
        self._epoch = epoch
        self._first_global_step = first_global_step
        self._started = self._reported = time.perf_counter()
        self._first_step = first_step
        self._waited = 0.0
        self._images = 0
        if self.context.is_first and sys.stderr.isatty() and sys.stdout.isatty():
            self._bar = tqdm(
                total=self.steps_per_epoch,
                initial=first_step,
                desc=f"epoch {epoch}/{self.epochs}",
                unit="step",
                dynamic_ncols=True,
            )

    def step(self, step: int, n_images: int, waited: float, learning_rate: float, loss: Tensor, acc: Tensor) -> None:
        """Notes one step: images of all processes, seconds waited for data, and this process's loss and accuracy."""
        self._pending.append((step, learning_rate, torch.stack([loss.detach(), acc.detach()])))
        self._images += n_images
        self._waited += waited
        if self._bar:
            self._bar.update()
        if (step + 1) % self.print_freq == 0 or step + 1 == self.steps_per_epoch:
            self.report()

    def report(self) -> None:
        """Shows and logs the steps that have not been yet. Raises UserError for a loss that is not finite."""
        if not self._pending:
            return
        figures = mean_over_processes(torch.stack([figures for _, _, figures in self._pending])).tolist()
        self._stop_unless_finite([loss for loss, _ in figures])
        if self.context.is_first:
            self._log(figures)
            step, learning_rate, _ = self._pending[-1]
            loss, acc = (sum(column) / len(figures) for column in zip(*figures, strict=True))
            self._show(step, loss, acc, learning_rate)
        self._pending.clear()
        self._images, self._waited, self._reported = 0, 0.0, time.perf_counter()

    def _log(self, figures: list[list[float]]) -> None:
        with self._writing():
            for (step, learning_rate, _), (loss, acc) in zip(self._pending, figures, strict=True):
                global_step = self._first_global_step + step
                self._writer.add_scalar("loss", loss, global_step)
                self._writer.add_scalar("acc", acc, global_step)
                self._writer.add_scalar("learning_rate", learning_rate, global_step)
            self._writer.flush()

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

    def _stop_unless_finite(self, losses: list[float]) -> None:
        for (step, _, _), loss in zip(self._pending, losses, strict=True):
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss is {loss} in epoch {self._epoch}, step {step + 1}: training stopped, the last "
                    "checkpoint stands; a lower --learning_rate, --warm or no --amp may help"
                )

    def end_epoch(self) -> None:
        if self._bar:
            self._bar.close()
            self._bar = None

    def picture(self, crops: Tensor) -> None:
        """Shows query (above) and key (below) of a few rows of ``crops``, uint8 (rows, 6, P, P), in TensorBoard."""
        if self._writer is None:
            return
        chosen = torch.linspace(0, len(crops) - 1, min(N_PICTURED_PAIRS, len(crops))).long()
        pairs = torch.cat([crops[chosen, :3], crops[chosen, 3:]])
        with self._writing():
            self._writer.add_image("query_above_key", make_grid(pairs, nrow=len(chosen)), 0)
            self._writer.flush()

    def say(self, text: str) -> None:
        """A line for the person at the terminal, from the first process."""
        if self.context.is_first:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        self.end_epoch()
        if self._writer:
            with self._writing():
                self._writer.close()


def _report_unless_tensorboard(failure: threading.ExceptHookArgs) -> None:
    """For ``threading.excepthook``: what TensorBoard's thread meets is raised again in the thread that uses it."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failure)
