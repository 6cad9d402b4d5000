"""Training an encoder by momentum contrast: the loop, and when it saves. Runs in every process."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from common import log
from common.atomic_files import check_writable, remove_leftovers
from common.folder_lock import hold
from learning.contrastive.batches import EpochBatches, split_batch
from learning.contrastive.resume import continue_from, describe_run, find_run
from learning.contrastive.setup import (
    Learner,
    build_dataset,
    build_learner,
    build_loader,
    build_probe,
    build_schedule,
    list_training_images,
    training_device,
)
from learning.contrastive.training_log import Progress
from learning.contrastive.training_state import OF_EPOCH, Position, save_checkpoint, training_state
from learning.contrastive.unreadable_images import BadImages
from learning.distributed.environment import context_for_messages
from learning.distributed.failures import run_rank
from learning.distributed.process_group import ProcessContext, leave
from learning.distributed.rendezvous import join
from learning.distributed.signals import StopRequest
from options.contrast import ContrastOptions

if TYPE_CHECKING:
    from learning.contrastive.probe import Probe


def train_process(options: ContrastOptions, backend: str) -> None:
    """Runs ``train`` in this process. Every failure ends with an error message and an exit status (``run_rank``)."""
    log.set_script("main_contrast.py")
    log.set_quiet(context_for_messages().local_rank != 0)  # each node reports which processes it waits for
    run_rank(lambda: train(options, backend))


def train(options: ContrastOptions, backend: str) -> None:
    """Trains one encoder as the options say, over ``backend`` (nccl or gloo) if there are several processes.

    Raises UserError for an error that the user can fix, and Stopped after a signal.
    """
    context = join(backend, options.join_timeout)
    log.set_quiet(not context.is_first)
    stop = StopRequest()
    device = training_device(options.gpu, context)
    dataset = build_dataset(options, list_training_images(options, context))
    batches = EpochBatches(len(dataset), options.batch_size, options.epochs, options.seed, context)
    schedule = build_schedule(options)
    learner = build_learner(options, context, device)
    probe = build_probe(options, learner, context)
    steps_per_epoch = batches.steps_per_epoch
    on = describe_processes(context, device, backend)
    log.info(
        f"{len(dataset):,d} images of {dataset.images.source}, {options.arch}, {on}, {steps_per_epoch} steps per epoch"
    )

    with RunLock(context, stop) as lock:
        description = describe_run(options, context, dataset.images.paths)
        run = find_run(options, context, lock.acquire)
        position = continue_from(run.found, learner, description, steps_per_epoch) if run.found else Position()
        if probe and run.found:
            probe.restore(run.found.content.get("probe"))
        lock.acquire(run.folder)  # not earlier, so that a mistake leaves no empty folder
        in_own_folder = run.folder == options.model_path == options.tb_path
        tb_folder = run.folder if in_own_folder else options.tb_path / run.folder.name
        log.info(f"checkpoints: {run.folder}")
        log.info(f"TensorBoard: {tb_folder}")
        loader = build_loader(dataset, batches.starting_at(position), options.num_workers, context, device)
        bad_images = BadImages(dataset, run.folder, options.max_bad / 100, context.is_first, bool(run.found))

        with Progress(context, tb_folder, options.print_freq, steps_per_epoch, options.epochs, position) as progress:
            saver = Saver(options, context, learner, progress, run.folder, description, probe, stop)
            if context.is_first and not run.found:
                progress.picture(split_batch(dataset[1, 0])[0])
            stop.check_all()
            for batch in progress.batches(loader):
                learning_rate = schedule.at_step(position.epoch + 1, position.step, steps_per_epoch)
                loss, acc = learner.step(batch, learning_rate, position.global_step)
                position = position.after_step(steps_per_epoch)
                progress.step(position, learning_rate, loss, acc)
                if position.step % options.print_freq == 0:
                    bad_images.check()
                saver.after_step(position)

    log.set_quiet(context.local_rank != 0)  # the weights of every node are printed, to be compared
    log.info(f"finished, weights {learner.moco.digest()}" + f" on node {context.node}" * (context.world_size > 1))
    leave()


def describe_processes(context: ProcessContext, device: torch.device, backend: str) -> str:
    """For example "2 processes on cpu over gloo"."""
    if context.world_size == 1:
        return f"1 process on {device.type}"
    return f"{context.world_size} processes on {device.type} over {backend}"


class RunLock:
    """Rank 0's lock on the run's folder, against other trainings that would write there; released on exit."""

    def __init__(self, context: ProcessContext, stop: StopRequest):
        self._is_first = context.is_first
        self._stop = stop
        self._file: BinaryIO | None = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._file:
            self._file.close()

    def acquire(self, folder: Path) -> None:
        """Makes and locks the folder; does nothing when this has been done, or on other ranks.

        Raises UserError if another process holds the lock or the folder cannot be written to, and Stopped if a signal
        comes while this process waits for the lock.
        """
        if self._is_first and not self._file:
            self._file = hold(folder, while_waiting=self._stop.check)
            check_writable(folder)
            remove_leftovers(folder)


class Saver:
    """Saves at an epoch's end, every ``save_steps`` steps within it, after each measurement of the probe,
    and when a signal asks to stop. Only rank 0 writes.
    """

    def __init__(
        self,
        options: ContrastOptions,
        context: ProcessContext,
        learner: Learner,
        progress: Progress,
        folder: Path,
        description: dict[str, Any],
        probe: Probe | None,
        stop: StopRequest,
    ):
        self._options = options
        self._is_first = context.is_first
        self._learner = learner
        self._progress = progress
        self._folder = folder
        self._description = description
        self._probe = probe
        self._stop = stop

    def after_step(self, position: Position) -> None:
        """Saves if it is due. If any process has received a signal, all processes raise Stopped after the same step."""
        options = self._options
        signal_number = self._stop.agreed()
        probing = self._probe is not None and self._probe.is_due(position, options.epochs)
        due = position.at_epoch_end or (options.save_steps and position.step % options.save_steps == 0)
        if signal_number or due or probing:
            self._progress.report()  # writes the curves up to this step, so a resumed curve has no gap
            self._learner.moco.share_statistics()
            is_best = probing and self._measure(position)
            if self._is_first:
                self._save(position, is_best)
        if signal_number and position.epoch < options.epochs:
            self._stop.obey(signal_number, f"after {position}; saved, --resume auto continues from there")

    def _measure(self, position: Position) -> bool:
        """Measures the encoder with the probe and reports the result. Returns whether it is the run's best so far."""
        assert self._probe is not None
        measured = self._probe.measure(position)
        best = self._probe.best
        if measured is None or best is None:  # not rank 0
            return False
        self._progress.measured(measured, best)
        return best is measured

    def _save(self, position: Position, is_best: bool) -> None:
        options, learner = self._options, self._learner
        kept = position.epoch % options.save_freq == 0 or position.epoch == options.epochs
        keep_as = OF_EPOCH.format(position.epoch) if position.at_epoch_end and kept else None
        probe = self._probe.state() if self._probe else None
        state = training_state(learner.moco, learner.optimizer, learner.scaler, position, self._description, probe)
        save_checkpoint(state, self._folder, keep_as, options.keep, is_best)
