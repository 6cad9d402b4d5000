"""Training an encoder by momentum contrast: how a run is wired, and its loop. Runs in every process."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing

import torch
from torch import Tensor

from common import log, machine
from learning.contrastive.moco import accuracy, contrastive_loss, level_loss
from learning.contrastive.resume import describe_run, open_run
from learning.contrastive.setup import (
    BadImages,
    build_dataset,
    build_learner,
    build_loader,
    epoch_batches,
    training_device,
)
from learning.contrastive.training_log import Progress, Step, write_options
from learning.contrastive.training_state import (
    OF_EPOCH,
    Learner,
    Position,
    save_checkpoint,
    share_statistics,
    training_state,
    unwrapped,
    weights_digest,
)
from learning.distributed.environment import Membership
from learning.distributed.launch import StopRequest
from learning.distributed.process_group import join, leave
from networks.encoder import amp_dtype
from options.contrast import ContrastOptions

WARM_UP_START = 0.01


def train(options: ContrastOptions, backend: str, member: Membership | None) -> None:
    """Trains one encoder as the options say, over ``backend`` (nccl or gloo) with the other processes of ``member``.

    Saves at an epoch's end, every ``save_steps`` steps within it, after each measurement of the probe, and when a
    signal asks to stop. Raises UserError for an error that the user can fix, and Stopped after a signal.
    """
    context = join(member, backend, options.join_timeout)
    log.set_quiet(not context.is_first)
    device = training_device(options.gpu, context)
    dataset = build_dataset(options, context)
    steps_per_epoch = math.ceil(len(dataset) / options.batch_size)
    learner = build_learner(options, context, device)
    probe = None
    if options.probe:
        # Most trainings have no probe, and these imports (pandas, scikit-learn) take seconds.
        from learning.contrastive.probe import Probe

        encoder = unwrapped(learner.moco.f_q).get_submodule("encoder")
        probe = Probe(options, encoder, context, device, options.epochs * steps_per_epoch)
    description = describe_run(options, context, dataset.images.paths)
    several = f"{context.world_size} processes on {device.type} over {backend}"
    processes = several if context.world_size > 1 else f"1 process on {device.type}"
    log.info(
        f"{len(dataset):,d} images of {dataset.images.source}, {options.arch}, {processes}, "
        f"{steps_per_epoch} steps per epoch"
    )

    if options.amp:
        machine.warn_of_slow_amp(device.type)
    with open_run(options, context, description, learner, steps_per_epoch) as (folder, start, saved):
        stop = StopRequest()
        if probe and saved:
            probe.load_state(saved.content.get("probe"))
        in_own_folder = folder == options.model_path == options.tb_path
        tb_folder = folder if in_own_folder else options.tb_path / folder.name
        if context.is_first:
            write_options(folder, options.in_use | description)
        log.info(f"checkpoints: {folder}")
        log.info(f"TensorBoard: {tb_folder}")
        batches = epoch_batches(len(dataset), options.batch_size, options.epochs, options.seed, context, start)
        loader = build_loader(dataset, batches, options.num_workers, context, device)
        bad_images = BadImages(dataset, folder, options.max_bad / 100, context)
        progress = Progress(options, context, tb_folder, steps_per_epoch, start)

        with closing(progress):
            if context.is_first and not saved:
                progress.picture(dataset.sample(1, 0)[0])
            stop.obey(stop.agreed())
            for step in train_steps(options, learner, progress.batches(loader), start, steps_per_epoch, device):
                position = step.position
                progress.add(step)
                # Every process does all of this, but for what is under is_first: most of these calls communicate.
                if position.step % options.print_freq == 0:
                    bad_images.check()
                signal_number = stop.agreed()
                due = position.at_epoch_end or (options.save_steps and position.step % options.save_steps == 0)
                due_probe = probe if probe and probe.is_due(position) else None
                if signal_number or due or due_probe:
                    progress.report()  # writes the curves up to this step, so a resumed curve has no gap
                    share_statistics(learner.moco)
                    is_best = due_probe is not None and due_probe.measure(position, progress.add_measurement)
                    if context.is_first:
                        is_kept = position.epoch % options.save_freq == 0 or position.epoch == options.epochs
                        keep_as = OF_EPOCH.format(position.epoch) if position.at_epoch_end and is_kept else None
                        state = training_state(learner, position, description, probe.state() if probe else None)
                        save_checkpoint(state, folder, keep_as, options.keep, is_best)
                if position.epoch < options.epochs:
                    stop.obey(signal_number, f"after {position}; saved, --resume auto continues from there")

    log.set_quiet(context.local_rank != 0)  # the weights of every node are printed, to be compared
    digest = weights_digest(learner.moco)
    log.info(f"finished, weights {digest}" + f" on node {context.node}" * (context.world_size > 1))
    leave()


def train_steps(
    options: ContrastOptions,
    learner: Learner,
    batches: Iterable[tuple[Tensor, Tensor]],
    position: Position,
    steps_per_epoch: int,
    device: torch.device,
) -> Iterator[Step]:
    """Makes a training step (Algorithm 1 of MoCo) with each batch, from ``position`` on, and yields what it gave.

    A batch holds the query and key crops of every row of every image, uint8 (images, rows, 6, P, P), and the levels of
    distortions that the rows have reached, uint8 (images, rows, kinds * levels).
    """
    moco, optimizer, scaler = learner
    for all_crops, all_reached in batches:
        crops = all_crops.to(device, non_blocking=True).flatten(0, 1)  # (N, 6, P, P)
        reached = all_reached.to(device, non_blocking=True).flatten(0, 1)  # (N, kinds * levels)
        x_q, x_k = crops.split(3, dim=1)

        learning_rate = learning_rate_at(options, position.epoch + 1, position.step, steps_per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        with torch.autocast(device.type, dtype=amp_dtype(device), enabled=options.amp):
            logits, keys, level_logits = moco(x_q, x_k, position.global_step)
        loss = contrastive_loss(logits)
        if options.level_weight:  # ours, not the paper's: the features also predict how the query is distorted
            loss = loss + options.level_weight * level_loss(level_logits, reached)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        moco.advance(keys)

        position = position.after_step(steps_per_epoch)
        yield Step(position, learning_rate, loss.detach(), accuracy(logits.detach()))


def learning_rate_at(options: ContrastOptions, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The learning rate of step 0..steps_per_epoch-1 of an epoch.

    The cosine moves once an epoch, as in the released code: the last epoch has the lowest rate throughout. With
    ``--schedule step`` the same curve moves at every step; the two agree at the last step of each epoch. During the W
    warm-up epochs the rate moves linearly from 0.01 to the schedule's value at epoch W.
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
