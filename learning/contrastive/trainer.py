"""Training an encoder by momentum contrast: the loop, what is saved when, and how it ends. Runs in every process."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

import torch
from torch import Tensor

from common.atomic_files import check_writable, remove_leftovers
from common.errors import UserError
from common.folder_lock import hold
from common.process import LOST_CONTACT, exit_at_once
from learning.contrastive.batches import EpochBatches
from learning.contrastive.moco import accuracy, contrastive_loss
from learning.contrastive.resume import (
    AUTO,
    check_same_training,
    describe_run,
    find_checkpoint,
    restore,
    start_position,
)
from learning.contrastive.setup import (
    Learner,
    build_dataset,
    build_learner,
    build_loader,
    build_schedule,
    training_device,
)
from learning.contrastive.training_log import Progress
from learning.contrastive.training_state import CURRENT, OF_EPOCH, Position, save_checkpoint, training_state
from learning.contrastive.unreadable_images import BadImages
from learning.distributed.explanations import explain, lost_contact
from learning.distributed.failures import SECONDS_TO_HEAR, read_cause, tell_cause, training_store
from learning.distributed.process_group import ProcessContext, environment_context, join, leave
from learning.distributed.signals import Stopped, StopRequest, exit_on_signals


def train_epoch(
    batches: Iterator[Tensor],
    learner: Learner,
    learning_rate_at: Callable[[int], float],
    progress: Progress,
    steps: range,
    first_global_step: int,
    n_processes: int,
) -> Iterator[int]:
    """One epoch, or the rest of one: yields after each of ``steps`` how many of the epoch are done.

    A batch is uint8 (images, rows, 6, P, P): query crop and key crop of every row of every image.
    ``first_global_step`` is the number in the whole run of the epoch's step 0.
    """
    moco, optimizer, scaler = learner.moco, learner.optimizer, learner.scaler
    moco.query_network.train()
    moco.key_network.train()
    for step in steps:
        asked = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - asked

        crops = batch.to(learner.device, non_blocking=True).flatten(0, 1)  # (N, 6, P, P)
        query_crops, key_crops = crops.split(3, dim=1)
        learning_rate = learning_rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate

        with learner.autocast():
            logits, keys = moco.contrast(query_crops, key_crops, first_global_step + step)
        loss = contrastive_loss(logits)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        moco.advance(keys)

        progress.step(step, n_processes * len(batch), waited, learning_rate, loss, accuracy(logits))
        yield step + 1


class Saver:
    """Saves the state at an epoch's end, every ``save_steps`` steps within it, and when a signal asks to stop.

    Only the first process writes.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        context: ProcessContext,
        learner: Learner,
        progress: Progress,
        run: dict[str, object],
        stop: StopRequest,
    ):
        self._options = options
        self._is_first = context.is_first
        self._learner = learner
        self._progress = progress
        self._run = run
        self._stop = stop

    def after_step(self, position: Position) -> None:
        """Saves if it is due. Raises Stopped, in every process after the same step, if a signal has come to any."""
        options, at_end = self._options, position.step == 0
        asked = self._stop.agreed()
        if asked or at_end or (options.save_steps and position.step % options.save_steps == 0):
            # What is saved has been logged, so that the curve of a resumed run has no gap.
            self._progress.report()
            self._learner.moco.share_statistics()
            if self._is_first:
                kept = at_end and (position.epoch % options.save_freq == 0 or position.epoch == options.epochs)
                self._save(position, OF_EPOCH.format(position.epoch) if kept else None)
        if asked and position.epoch < options.epochs:
            self._stop.obey(asked, f"after {position}; saved, --resume auto continues from there")

    def _save(self, position: Position, keep_as: str | None) -> None:
        learner = self._learner
        state = training_state(learner.moco, learner.optimizer, learner.scaler, position, self._run)
        save_checkpoint(state, run_folder(self._options), keep_as, self._options.keep)


def run_folder(options: argparse.Namespace) -> Path:
    return Path(options.model_path, options.run_name)


def take_folder(folder: Path, stop: StopRequest) -> BinaryIO:
    """Makes the run's folder, and keeps others from writing there until what is returned is closed."""
    held = hold(folder, while_waiting=stop.check)
    check_writable(folder)
    remove_leftovers(folder)
    return held


def train(options: argparse.Namespace) -> None:
    """Trains one encoder as the options say. Raises UserError for what a person can mend, Stopped after a signal."""
    context = join(options.dist_backend)
    stop = StopRequest()
    device = training_device(options.gpu, context)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    dataset = build_dataset(options, context)
    batches = EpochBatches(len(dataset), options.batch_size, options.epochs, options.seed, context)
    learner = build_learner(options, context, device)
    schedule = build_schedule(options)

    run = describe_run(options, context, len(dataset))
    folder, log_folder = run_folder(options), Path(options.tb_path, options.run_name)
    held = None
    if context.is_first and options.resume == AUTO:
        held = take_folder(folder, stop)  # before its newest checkpoint is looked for
    found = find_checkpoint(options.resume, folder, context)
    start, notices = Position(), []
    if found:
        notices = check_same_training(found, run)
        restore(found, learner.moco, learner.optimizer, learner.scaler)
        start = start_position(found, run, batches.steps_per_epoch)
        batches.start_epoch, batches.start_step = start.epoch + 1, start.step
    loader = build_loader(dataset, batches, options.num_workers, context, device)

    if context.is_first and not held:
        held = take_folder(folder, stop)  # a mistake till here leaves none behind
    progress = Progress(
        context, log_folder, options.print_freq, batches.steps_per_epoch, options.epochs, start.global_step
    )
    where = f"{context.world_size} process{'es' if context.world_size > 1 else ''} on {device.type}"
    backend = f" over {options.dist_backend}" if context.world_size > 1 else ""
    progress.say(
        f"{len(dataset):,d} images of {dataset.images.source}, {options.arch}, {where}{backend}, "
        f"{batches.steps_per_epoch} steps per epoch" + (f", resuming after {start} of {found.path}" if found else "")
    )
    for notice in notices:
        progress.say(f"notice: {notice}")
    if options.resume == AUTO and not found:
        progress.say(f"no checkpoint in {folder}: starting afresh")
    elif not found and (folder / CURRENT).exists():
        progress.say(f"{folder / CURRENT} of an earlier run will be replaced; --resume auto would continue it")
    progress.say(f"checkpoints: {folder}\nTensorBoard: {log_folder}")
    if start.epoch >= options.epochs:
        progress.say(f"nothing to do: {found.path} has {start.epoch} of --epochs {options.epochs} already")
    if not found and context.is_first:
        progress.picture(dataset[1, 0])

    if asked := stop.agreed():
        stop.obey(asked, "before the first step")
    saver = Saver(options, context, learner, progress, run, stop)
    bad_images = BadImages(dataset, folder, options.max_bad / 100, context.is_first, progress.say, bool(found))
    loaded = iter(loader)
    first_global_step = start.global_step - start.step
    try:
        for epoch in range(start.epoch + 1, options.epochs + 1):
            steps = range(start.step if epoch == start.epoch + 1 else 0, batches.steps_per_epoch)
            progress.start_epoch(epoch, steps.start, first_global_step)
            for done in train_epoch(
                loaded,
                learner,
                lambda step, epoch=epoch: schedule.at_step(epoch, step, batches.steps_per_epoch),
                progress,
                steps,
                first_global_step,
                context.world_size,
            ):
                if done % options.print_freq == 0 or done == batches.steps_per_epoch:
                    bad_images.check()
                saver.after_step(Position.within(epoch, done, batches.steps_per_epoch, first_global_step + done))
            progress.end_epoch()
            first_global_step += batches.steps_per_epoch
    finally:
        progress.close()
    if held:
        held.close()
    if context.local_rank == 0:
        print(
            f"finished, weights {learner.moco.digest()}" + f" on node {context.node}" * (context.world_size > 1),
            flush=True,
        )
    leave()


def train_process(options: argparse.Namespace) -> None:
    """``train`` as a process's whole work; however it ends, it says why in a sentence, here and to the others.

    The exit status is 1 for a failure, ``LOST_CONTACT`` where another process had failed, and after a signal 130
    (Ctrl-C) or ``stopping.REQUEUE``.
    """
    exit_on_signals()
    try:
        train(options)
    except Stopped as stopped:
        _end(str(stopped), stopped.status, aloud=False)
    except UserError as error:
        _fail(error.sentence)
    except Exception as error:
        if lost_contact(error):
            _follow(str(error).split("\n")[0])
        if not (sentence := explain(error)):
            traceback.print_exc()
            sentence = f"{type(error).__name__}: {error}"
        _fail(sentence)


def _fail(sentence: str) -> NoReturn:
    context = environment_context() or ProcessContext()
    where = f"process {context.rank} on {socket.gethostname()}: " if context.world_size > 1 else ""
    tell_cause(training_store(), where + sentence)
    _end(where + sentence, status=1)


def _follow(reason: str) -> NoReturn:
    """Ends since another process has: says what that one said, if it could."""
    # A launcher that ends this process has found the other one dead, and says so itself.
    signal.signal(signal.SIGTERM, lambda *_: exit_at_once(LOST_CONTACT))
    time.sleep(1)  # the launcher is to find the other one first
    cause = read_cause(training_store(), SECONDS_TO_HEAR)
    context = environment_context()
    sentence = f"stopped, since another process has ended: {cause or reason}"
    _end(f"process {context.rank} on {socket.gethostname()}: {sentence}", LOST_CONTACT, aloud=context.local_rank == 0)


def _end(message: str, status: int, aloud: bool = True) -> NoReturn:
    context = environment_context()
    if aloud or context is None or context.is_first:
        print(f"main_contrast.py: {message}", file=sys.stderr)
    exit_at_once(status)
