"""The parts of a training, made as the options say: device, images, networks, optimiser, schedule."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset

from common.errors import UserError
from datasets.content_aware import ContentAwareDataset, scan_data_folder
from datasets.quality_aware import QualityAwareDataset
from datasets.training_images import TrainingImages, read_training_csv
from datasets.workers import worker_starter
from learning.contrastive.batches import EpochBatches
from learning.contrastive.lars import LARS
from learning.contrastive.moco import KeyQueue, MoCo
from learning.contrastive.schedule import Schedule
from learning.distributed.process_group import NodeShuffle, ProcessContext, from_first
from networks import ContrastiveNetwork
from networks.checkpoint_formats import load_encoder_state, read_checkpoint
from networks.compilation import require_compiler
from networks.features import amp_dtype, normalize


def training_device(gpu: int | None, context: ProcessContext) -> torch.device:
    """The GPU asked for, or the one of this process's place on its node; the CPU on a machine without."""
    if gpu is not None and gpu >= torch.cuda.device_count():
        raise UserError(f"--gpu {gpu}: this machine has {torch.cuda.device_count()} GPUs, counted from 0")
    if not torch.cuda.is_available():
        # Processes of one machine share its cores.
        torch.set_num_threads(max(1, torch.get_num_threads() // context.local_size))
        return torch.device("cpu")
    device = torch.device("cuda", gpu if gpu is not None else context.local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def list_training_images(options: argparse.Namespace, context: ProcessContext) -> TrainingImages:
    """The images of the CSV, or of the folder, which only the first process scans."""
    if not options.data_folder:
        return read_training_csv(options.csv_path)
    return from_first(lambda: scan_data_folder(options.data_folder), context)


def build_dataset(options: argparse.Namespace, context: ProcessContext) -> ContentAwareDataset | QualityAwareDataset:
    if options.views == "content":
        images = list_training_images(options, context)
        return ContentAwareDataset(images, options.method, options.patch_size, options.seed, options.max_pixels)
    return QualityAwareDataset(
        options.csv_path,
        n_aug=options.n_aug,
        n_scale=options.n_scale,
        n_distortions=options.n_distortions,
        patch_size=options.patch_size,
        swap_crops=options.swap_crops,
        seed=options.seed,
        max_pixels=options.max_pixels,
    )


def build_loader(
    dataset: Dataset, batches: EpochBatches, n_workers: int, context: ProcessContext, device: torch.device
) -> DataLoader:
    """Loads this process's batches with its share of the node's workers."""
    share = n_workers // context.local_size + (context.local_rank < n_workers % context.local_size)
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


def build_moco(options: argparse.Namespace, context: ProcessContext, device: torch.device) -> MoCo:
    """Networks and queue, equal in every process; the query network wrapped for gradient averaging.

    Raises UserError for an --init that does not fit, and for a --compile that does not work.
    """
    if options.compile:
        require_compiler(device)
    torch.manual_seed(options.seed)
    query_network, key_network = (
        ContrastiveNetwork(options.arch, options.head, options.feat_dim).to(device, memory_format=torch.channels_last)
        for _ in range(2)
    )
    if options.init:
        load_encoder_state(query_network.encoder, read_checkpoint(options.init), options.arch, options.init)
    if context.world_size > 1:
        query_network = DistributedDataParallel(
            query_network,
            device_ids=[device.index] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )
        _settle_buckets(query_network, device)
    if options.compile:
        # In place: another module around them would change the names of their weights in checkpoints.
        query_network.compile()
        key_network.compile()
    return MoCo(
        query_network,
        key_network,
        KeyQueue(options.nce_k, options.feat_dim, seed=options.seed).to(device),
        temperature=options.nce_t,
        momentum=options.alpha,
        prepare=to_normalized if options.views == "content" else to_unit_range,
        shuffle=NodeShuffle(context, seed=options.seed),
    )


def _settle_buckets(network: DistributedDataParallel, device: torch.device) -> None:
    """Has DDP put its gradient buckets into their final order, which it does after its first backward pass.

    From three processes on, a gradient's place in a bucket decides in which order it is summed up. Without this, the
    first step after a restart would round differently from the same step of a run that was not interrupted.
    """
    network.eval()  # so that BatchNorm's statistics stay
    network(torch.zeros(1, 3, 32, 32, device=device)).sum().backward()
    network.zero_grad(set_to_none=True)


def build_optimizer(options: argparse.Namespace, moco: MoCo) -> Optimizer:
    parameters = moco.query_network.parameters()
    if options.optimizer == "AdamW":
        return AdamW(parameters, options.learning_rate, weight_decay=options.weight_decay)
    kind = {"SGD": SGD, "LARS": LARS}[options.optimizer]
    return kind(parameters, options.learning_rate, momentum=options.momentum, weight_decay=options.weight_decay)


def build_schedule(options: argparse.Namespace) -> Schedule:
    return Schedule(
        options.learning_rate,
        options.epochs,
        options.cosine,
        options.lr_decay_rate,
        options.lr_decay_epochs,
        options.warm,
    )


@dataclass(frozen=True)
class Learner:
    """What a step changes: networks and queue, optimiser, scaler of half-precision gradients; and where it happens."""

    moco: MoCo
    optimizer: Optimizer
    scaler: GradScaler
    device: torch.device
    amp: bool

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=amp_dtype(self.device), enabled=self.amp)


def build_learner(options: argparse.Namespace, context: ProcessContext, device: torch.device) -> Learner:
    moco = build_moco(options, context, device)
    scaler = GradScaler(device.type, enabled=options.amp and amp_dtype(device) == torch.float16)
    return Learner(moco, build_optimizer(options, moco), scaler, device, options.amp)
