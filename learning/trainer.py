"""Training an encoder by momentum contrast: parts, loop, checkpoints. Runs in every process."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset

from common.errors import UserError
from common.files import check_writable
from datasets.content_aware import ContentAwareDataset, scan_data_folder
from datasets.quality_aware import QualityAwareDataset
from datasets.training_images import TrainingImages, read_training_csv
from datasets.workers import exit_at_once, worker_starter
from learning.checkpoints import CURRENT, resume_training, save_checkpoint, share_key_statistics, training_state
from learning.distributed import NodeShuffle, Place, environment_place, from_first, join, leave
from learning.lars import LARS
from learning.moco import KeyQueue, MoCo, accuracy, contrastive_loss
from learning.progress import Progress
from learning.sampling import EpochBatches
from learning.schedule import Schedule
from networks import ContrastiveNetwork
from networks.features import amp_dtype, normalize
from networks.weights import load_encoder_state, read_checkpoint


def train_epoch(
    batches: Iterator[Tensor],
    moco: MoCo,
    optimizer: Optimizer,
    scaler: GradScaler,
    learning_rate_at: Callable[[int], float],
    autocast: Callable[[], torch.autocast],
    device: torch.device,
    progress: Progress,
    steps: range,
    first_global_step: int,
    n_processes: int,
) -> None:
    """One epoch. A batch is uint8 (images, rows, 6, P, P): query crop and key crop of every row of every image."""
    moco.query_network.train()
    moco.key_network.train()
    for step in steps:
        asked = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - asked

        crops = batch.to(device, non_blocking=True).flatten(0, 1)  # (N, 6, P, P)
        query_crops, key_crops = crops.split(3, dim=1)
        learning_rate = learning_rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate

        with autocast():
            logits, keys = moco.contrast(query_crops, key_crops, first_global_step + step)
        loss = contrastive_loss(logits)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        moco.advance(keys)

        progress.step(step, n_processes * len(batch), waited, learning_rate, loss, accuracy(logits))


def choose_device(gpu: int | None, place: Place) -> torch.device:
    """The GPU asked for, or the one of this process's place on its node; the CPU on a machine without."""
    if gpu is not None and gpu >= torch.cuda.device_count():
        raise UserError(f"--gpu {gpu}: this machine has {torch.cuda.device_count()} GPUs, counted from 0")
    if not torch.cuda.is_available():
        # Processes of one machine share its cores.
        torch.set_num_threads(max(1, torch.get_num_threads() // place.local_size))
        return torch.device("cpu")
    device = torch.device("cuda", gpu if gpu is not None else place.local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def list_training_images(options: argparse.Namespace, place: Place) -> TrainingImages:
    """The images of the CSV, or of the folder, which only the first process scans."""
    if not options.data_folder:
        return read_training_csv(options.csv_path)
    return from_first(lambda: scan_data_folder(options.data_folder), place)


def build_dataset(options: argparse.Namespace, place: Place) -> Dataset:
    if options.views == "content":
        images = list_training_images(options, place)
        return ContentAwareDataset(images, options.method, options.patch_size, options.seed)
    return QualityAwareDataset(
        options.csv_path,
        n_aug=options.n_aug,
        n_scale=options.n_scale,
        n_distortions=options.n_distortions,
        patch_size=options.patch_size,
        swap_crops=options.swap_crops,
        seed=options.seed,
    )


def build_loader(
    dataset: Dataset, batches: EpochBatches, n_workers: int, place: Place, device: torch.device
) -> DataLoader:
    """Loads this process's batches with its share of the node's workers."""
    share = n_workers // place.local_size + (place.local_rank < n_workers % place.local_size)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=share,
        pin_memory=device.type == "cuda",
        worker_init_fn=worker_starter(),
    )


def to_unit_range(crops: Tensor) -> Tensor:
    """uint8 (N, 3, P, P) -> float in [0, 1], channels last; what the quality-aware encoder takes."""
    return crops.to(torch.float32, memory_format=torch.channels_last).div_(255)


def to_normalized(crops: Tensor) -> Tensor:
    """uint8 (N, 3, P, P) -> float with ImageNet's mean and deviation; what the content-aware encoder takes."""
    return normalize(to_unit_range(crops))


def build_moco(options: argparse.Namespace, place: Place, device: torch.device) -> MoCo:
    """Networks and queue, equal in every process; the query network wrapped for gradient averaging."""
    torch.manual_seed(options.seed)
    query_network, key_network = (
        ContrastiveNetwork(options.arch, options.head, options.feat_dim).to(device, memory_format=torch.channels_last)
        for _ in range(2)
    )
    if options.init:
        load_encoder_state(query_network.encoder, read_checkpoint(options.init), options.arch, options.init)
    if place.world_size > 1:
        query_network = DistributedDataParallel(
            query_network,
            device_ids=[device.index] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )
    return MoCo(
        query_network,
        key_network,
        KeyQueue(options.nce_k, options.feat_dim, seed=options.seed).to(device),
        temperature=options.nce_t,
        momentum=options.alpha,
        prepare=to_normalized if options.views == "content" else to_unit_range,
        shuffle=NodeShuffle(place, seed=options.seed),
    )


def build_optimizer(options: argparse.Namespace, moco: MoCo) -> Optimizer:
    parameters = moco.query_network.parameters()
    if options.optimizer == "AdamW":
        return AdamW(parameters, options.learning_rate, weight_decay=options.weight_decay)
    kind = {"SGD": SGD, "LARS": LARS}[options.optimizer]
    return kind(parameters, options.learning_rate, momentum=options.momentum, weight_decay=options.weight_decay)


def run_options(options: argparse.Namespace) -> dict[str, str | int]:
    """What a checkpoint can be resumed with only if it was the same."""
    return {
        name: getattr(options, name) for name in ("views", "method", "arch", "head", "feat_dim", "nce_k", "optimizer")
    }


def train(options: argparse.Namespace) -> None:
    """Trains one encoder as the options say. Raises UserError for what a person can mend."""
    place = join(options.dist_backend)
    device = choose_device(options.gpu, place)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    dataset = build_dataset(options, place)
    moco = build_moco(options, place, device)
    optimizer = build_optimizer(options, moco)
    dtype = amp_dtype(device)
    scaler = GradScaler(device.type, enabled=options.amp and dtype == torch.float16)

    run = run_options(options)
    last_epoch = resume_training(options.resume, moco, optimizer, scaler, run) if options.resume else 0
    batches = EpochBatches(
        len(dataset), options.batch_size, options.epochs, options.seed, place, start_epoch=last_epoch + 1
    )
    loader = build_loader(dataset, batches, options.num_workers, place, device)
    schedule = Schedule(
        options.learning_rate,
        options.epochs,
        options.cosine,
        options.lr_decay_rate,
        options.lr_decay_epochs,
        options.warm,
    )

    steps_per_epoch = batches.steps_per_epoch
    folder = Path(options.model_path, options.run_name)
    log_folder = Path(options.tb_path, options.run_name)
    if place.is_first:
        check_writable(folder)
        if (folder / CURRENT).exists() and not options.resume:
            print(f"{folder / CURRENT} of an earlier run will be replaced; --resume with its path would continue it")
    progress = Progress(
        place, log_folder, options.print_freq, steps_per_epoch, options.epochs, last_epoch * steps_per_epoch
    )
    where = f"{place.world_size} process{'es' if place.world_size > 1 else ''} on {device.type}"
    backend = f" over {options.dist_backend}" if place.world_size > 1 else ""
    progress.say(
        f"{len(dataset):,d} images of {dataset.images.source}, {options.arch}, {where}{backend}, "
        f"{steps_per_epoch} steps per epoch"
        + (f", resuming after epoch {last_epoch} of {options.resume}" if options.resume else "")
    )
    progress.say(f"checkpoints: {folder}\nTensorBoard: {log_folder}")
    if last_epoch >= options.epochs:
        progress.say(f"nothing to do: {options.resume} has {last_epoch} of --epochs {options.epochs} already")

    if not last_epoch and place.is_first:
        progress.picture(dataset[1, 0])
    loaded = iter(loader)
    try:
        for epoch in range(last_epoch + 1, options.epochs + 1):
            progress.start_epoch(epoch, 0)
            train_epoch(
                loaded,
                moco,
                optimizer,
                scaler,
                lambda step, epoch=epoch: schedule.at_step(epoch, step, steps_per_epoch),
                lambda: torch.autocast(device.type, dtype=dtype, enabled=options.amp),
                device,
                progress,
                range(steps_per_epoch),
                (epoch - 1) * steps_per_epoch,
                place.world_size,
            )
            progress.end_epoch()
            share_key_statistics(moco)
            if place.is_first:
                kept = epoch % options.save_freq == 0 or epoch == options.epochs
                state = training_state(moco, optimizer, scaler, epoch, run)
                save_checkpoint(state, folder, f"ckpt_epoch_{epoch}.pth" if kept else None)
    finally:
        progress.close()
    leave()


def train_process(options: argparse.Namespace) -> None:
    """``train`` as a process's whole work: a user's mistake becomes a sentence and exit status 1, Ctrl-C 130."""
    try:
        train(options)
    except UserError as error:
        _end(f"main_contrast.py: {error.sentence}", status=1)
    except KeyboardInterrupt:
        _end("main_contrast.py: interrupted; --resume continues from the last checkpoint", status=130)


def _end(message: str, status: int) -> NoReturn:
    place = environment_place()
    if place is None or place.is_first or status == 1:
        print(message, file=sys.stderr)
    exit_at_once(status)
