"""Progress of a running training: a bar on a terminal or lines in a log, and TensorBoard curves."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm

from common import log
from common.atomic_files import whole_file
from common.process import signals_delayed
from common.progress_bar import on_terminal
from learning.contrastive.training_state import Position
from learning.distributed.environment import ProcessContext
from learning.distributed.process_group import gather_rows
from networks.errors import UserError
from options.contrast import ContrastOptions

N_PICTURED_PAIRS = 12
NEVER = 10**9  # seconds
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"  # tqdm's, without the time left of an epoch


def write_options(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes what a run was started with to ``options.json`` in its folder; UserError where it cannot be written."""
    with whole_file(folder / "options.json") as temporary:
        temporary.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


class Step(NamedTuple):
    """A step that was made: the position after it, its learning rate, and its loss and accuracy, on the device."""

    position: Position
    learning_rate: float
    loss: Tensor
    accuracy: Tensor


class Measurement(NamedTuple):
    """The metrics of an encoder at a position of its training; the first metric decides which encoder is best."""

    metrics: dict[str, float]
    position: Position

    @property
    def value(self) -> float:
        """The metric that decides which encoder is best; higher is better."""
        return next(iter(self.metrics.values()))

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items()) + f" after {self.position}"


class Progress:
    """Collects the steps, and reports them every ``print_freq`` steps and at an epoch's end.

    Losses stay on the device until they are reported, so that no step waits for the one before it. TensorBoard gets
    ``loss``, ``acc`` and ``learning_rate`` of each step, as means over all processes, ``images_per_second`` of each
    report, and the options as text and as hyper-parameters. Only rank 0 writes and prints.
    ``start`` is the position at which the run starts or resumes.
    """

    def __init__(
        self, options: ContrastOptions, context: ProcessContext, folder: Path, steps_per_epoch: int, start: Position
    ):
        self._options = options
        self._context = context
        self._folder = folder
        self._steps_per_epoch = steps_per_epoch
        self._start = self._position = start
        self._pending: list[Step] = []
        self._started = self._reported = time.perf_counter()
        self._waited = 0.0
        self._images = 0
        self._on_terminal = context.is_first and on_terminal()
        self._bar: tqdm | None = None
        self._writer: SummaryWriter | None = None
        if context.is_first:
            threading.excepthook = _report_unless_tensorboard
            with self._writing():
                # purge_step hides what an interrupted run wrote after its checkpoint, so the curve has no duplicates.
                # flush_secs: curves are written when a report is due, not by a thread at a time of its own.
                self._writer = SummaryWriter(str(folder), purge_step=start.global_step, flush_secs=NEVER)
                plain = {
                    name: value if isinstance(value, int | float) else log.printable(str(value))
                    for name, value in options.in_use.items()
                }
                self._writer.add_text("options", "    " + json.dumps(plain, indent=2).replace("\n", "\n    "))
                for summary in hparams(plain, dict.fromkeys(("loss", "acc", "images_per_second"))):
                    self._writer._get_file_writer().add_summary(summary)

    def close(self) -> None:
        """Ends the bar and the curves' file."""
        if self._bar:
            self._bar.close()
        if self._writer:
            with self._writing():
                self._writer.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises UserError if TensorBoard's files cannot be written."""
        try:
            yield
            if self._writer:
                self._writer.flush()
        except OSError as error:
            self._writer = None
            raise UserError(f"--tb_path: {self._folder} cannot be written: {error.strerror or error}") from None

    def picture(self, crops: Tensor) -> None:
        """Shows query (above) and key (below) of a few rows of ``crops``, uint8 (rows, 6, P, P), in TensorBoard."""
        if self._writer is None:
            return
        chosen = torch.linspace(0, len(crops) - 1, min(N_PICTURED_PAIRS, len(crops))).long()
        framed = F.pad(crops[chosen], (1, 1, 1, 1))
        rows = [torch.cat(list(half), dim=2) for half in (framed[:, :3], framed[:, 3:])]
        with self._writing():
            self._writer.add_image("query_above_key", F.pad(torch.cat(rows, dim=1), (1, 1, 1, 1)), 0)

    def batches(self, loader: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of ``loader``; measures how long each is waited for, and how many images it has."""
        with signals_delayed():
            loaded = iter(loader)  # starts the data workers
        self._started = self._reported = time.perf_counter()
        while True:
            if self._position.at_epoch_end:
                self._reported = time.perf_counter()  # a checkpoint was saved; rates are those of steps alone
            if self._bar is None and self._on_terminal and self._position.epoch < self._options.epochs:
                self._bar = tqdm(
                    total=self._steps_per_epoch,
                    initial=self._position.step,
                    desc=f"epoch {self._position.epoch + 1}/{self._options.epochs}",
                    unit="step",
                    bar_format=BAR,
                    dynamic_ncols=True,
                )
            asked = time.perf_counter()
            batch = next(loaded, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            self._images += self._context.world_size * len(batch[0])
            yield batch

    def add(self, step: Step) -> None:
        """Notes a step. Raises UserError, as ``report`` does, if a report is due."""
        self._position = step.position
        self._pending.append(step)
        if self._bar:
            self._bar.update()
        if step.position.step % self._options.print_freq == 0:
            self.report()
        if step.position.at_epoch_end and self._bar:
            self._bar.close()
            self._bar = None

    def report(self) -> None:
        """Prints and logs the steps since the last report, and the time left, in the bar or as a line.

        Raises UserError for a loss that is not finite.
        """
        if not self._pending:
            return
        values = torch.stack([torch.stack([step.loss, step.accuracy]) for step in self._pending])
        means = gather_rows(values[None]).mean(dim=0).tolist()  # over the processes
        for step, (loss, _) in zip(self._pending, means, strict=True):
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss is {loss} after {step.position}: training stopped, the last checkpoint is kept; a lower "
                    "--learning_rate, --warm or no --amp may help"
                )
        now = time.perf_counter()
        elapsed = now - self._reported
        rate = self._images / elapsed
        if self._writer:
            with self._writing():
                for step, (loss, acc) in zip(self._pending, means, strict=True):
                    curves = {"loss": loss, "acc": acc, "learning_rate": step.learning_rate}
                    for name, value in curves.items():
                        self._writer.add_scalar(name, value, step.position.global_step - 1)  # counted from 0
                self._writer.add_scalar("images_per_second", rate, self._position.global_step - 1)
        loss, acc = (sum(column) / len(means) for column in zip(*means, strict=True))
        epoch, done, global_step = self._position
        seconds_per_step = (now - self._started) / (global_step - self._start.global_step)
        steps_left = (self._options.epochs - epoch) * self._steps_per_epoch - done
        epoch, done = (epoch, self._steps_per_epoch) if self._position.at_epoch_end else (epoch + 1, done)  # from 1
        text = (
            f"loss {loss:.3f}  acc {acc:.2f}%  lr {self._pending[-1].learning_rate:.4g}  "
            f"{rate:.1f} images/s  waiting {self._waited / elapsed:.0%}  "
            f"left {tqdm.format_interval(seconds_per_step * steps_left)}"
        )
        if self._bar:
            self._bar.set_postfix_str(text)
        else:
            log.info(f"epoch {epoch}/{self._options.epochs}  step {done}/{self._steps_per_epoch}  {text}")
        self._pending.clear()
        self._images, self._waited, self._reported = 0, 0.0, time.perf_counter()

    def add_measurement(self, measurement: Measurement, best: Measurement) -> None:
        """Prints and logs a measurement of the probe. Called by rank 0, when all steps are reported."""
        if self._writer:
            with self._writing():
                for name, value in measurement.metrics.items():
                    self._writer.add_scalar(f"probe/{name}", value, measurement.position.global_step - 1)
        taken = time.perf_counter() - self._reported  # the steps were reported just before the measurement
        standing = "the best so far" if best is measurement else f"best: {best}"
        log.info(f"probe: {measurement}, {standing} ({taken:.1f} s)")
        self._started += taken  # so that rates are those of steps alone
        self._reported += taken


def _report_unless_tensorboard(failure: threading.ExceptHookArgs) -> None:
    """For ``threading.excepthook``: an error in TensorBoard's thread is raised again in the thread that uses it."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failure)
