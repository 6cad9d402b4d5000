"""The parts of a training: device, images, networks, optimiser, each built from the options."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer

from common.errors import UserError
from datasets.distortions import DISTORTIONS, N_LEVELS
from datasets.training.image_lists import EpochImages, read_training_csv, scan_data_folder
from datasets.training.quality_aware import QualityAwareDataset
from learning.contrastive.lars import LARS
from learning.contrastive.moco import KeyQueue, MoCo, NodeShuffle
from learning.contrastive.training_state import Learner
from learning.distributed.process_group import ProcessContext, from_first
from networks.checkpoint_formats import load_encoder_state, read_checkpoint
from networks.encoder import ContrastiveNetwork, amp_dtype, normalize
from options.contrast import ContrastOptions


def training_device(gpu: int | None, context: ProcessContext) -> torch.device:
    """The requested GPU, else the one of this process's local rank; the CPU on a machine without GPUs."""
    if gpu is not None and gpu >= torch.cuda.device_count():
        raise UserError(f"--gpu {gpu}: this machine has {torch.cuda.device_count()} GPUs, counted from 0")
    if not torch.cuda.is_available():
        # Processes of one machine share its cores.
        torch.set_num_threads(max(1, torch.get_num_threads() // context.local_size))
        return torch.device("cpu")
    device = torch.device("cuda", gpu if gpu is not None else context.local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def build_dataset(options: ContrastOptions, context: ProcessContext) -> EpochImages:
    """The training samples of the CSV's images, or of the folder's. Rank 0 reads the list and hands it to all ranks.

    Raises UserError for a list that cannot be used, for more versions than there are kinds of distortion, and on each
    node for images that do not exist there.
    """
    if options.n_aug > len(DISTORTIONS):
        raise UserError(
            f"--n_aug {options.n_aug}: there are {len(DISTORTIONS)} kinds of distortion, and each version of an image "
            "has a different one"
        )
    folder = options.data_folder
    images = from_first(lambda: scan_data_folder(folder) if folder else read_training_csv(options.csv_path), context)
    if context.local_rank == 0:
        images.check_existence()
    if options.views == "content":
        # Imports torchvision, which quality-aware views do not need.
        from datasets.training.content_aware import ContentAwareDataset

        return ContentAwareDataset(images, options.method, options.patch_size, options.seed, options.max_pixels)
    return QualityAwareDataset(
        images,
        n_aug=options.n_aug,
        n_scale=options.n_scale,
        n_distortions=options.n_distortions,
        patch_size=options.patch_size,
        swap_crops=options.swap_crops,
        seed=options.seed,
        max_pixels=options.max_pixels,
    )


def to_unit_range(crops: Tensor) -> Tensor:
    """uint8 (N, 3, P, P) -> float in [0, 1], channels last: input of the quality-aware network."""
    return crops.to(torch.float32, memory_format=torch.channels_last).div_(255)


def to_normalized(crops: Tensor) -> Tensor:
    """uint8 (N, 3, P, P) -> float with ImageNet's mean and deviation: input of the content-aware network."""
    return normalize(to_unit_range(crops))


def build_moco(options: ContrastOptions, context: ProcessContext, device: torch.device) -> MoCo:
    """Networks and queue, equal in every process; DDP wraps the query network and averages its gradients.

    Raises UserError if --init does not fit.
    """
    torch.manual_seed(options.seed)
    n_levels = len(DISTORTIONS) * N_LEVELS if options.level_weight else 0
    query_network, key_network = (
        ContrastiveNetwork(options.arch, options.head, options.feat_dim, n_levels)
        .to(device)
        .to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    if options.init:
        load_encoder_state(query_network.encoder, read_checkpoint(options.init), options.arch, options.init)
    f_q: nn.Module = query_network
    if context.world_size > 1:
        f_q = DistributedDataParallel(
            query_network,
            device_ids=[device.index] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )
        if options.bf16_gradients:
            f_q.register_comm_hook(None, bf16_compress_hook)
        _settle_buckets(f_q, device)
    return MoCo(
        f_q,
        key_network,
        KeyQueue(options.nce_k, options.feat_dim, seed=options.seed).to(device),
        temperature=options.nce_t,
        momentum=options.alpha,
        prepare=to_normalized if options.views == "content" else to_unit_range,
        node=NodeShuffle(context, seed=options.seed),
        negatives=options.negatives,
    )


def _settle_buckets(network: DistributedDataParallel, device: torch.device) -> None:
    """Makes DDP put its gradient buckets into their final order, which it does after its first backward pass.

    With three or more processes, a gradient's place in a bucket decides the order of summation. Without this, the
    first step after a restart would round differently from the same step of an uninterrupted run.
    """
    network.eval()  # keeps BatchNorm's running statistics
    embeddings, level_logits = network(torch.zeros(1, 3, 32, 32, device=device))
    (embeddings.sum() + level_logits.sum()).backward()
    network.zero_grad(set_to_none=True)
    network.train()


def build_learner(options: ContrastOptions, context: ProcessContext, device: torch.device) -> Learner:
    """Networks, queue, gradient scaler, and the optimiser of the query network; the key network follows without one.

    Raises UserError as ``build_moco`` does.
    """
    moco = build_moco(options, context, device)
    optimizer: Optimizer
    parameters, rate, decay = moco.f_q.parameters(), options.learning_rate, options.weight_decay
    if options.optimizer == "AdamW":
        optimizer = AdamW(parameters, rate, weight_decay=decay)
    elif options.optimizer == "LARS":
        optimizer = LARS(parameters, rate, weight_decay=decay, momentum=options.momentum)
    else:
        optimizer = SGD(parameters, rate, weight_decay=decay, momentum=options.momentum)
    scaler = GradScaler(device.type, enabled=options.amp and amp_dtype(device) == torch.float16)
    return Learner(moco, optimizer, scaler)
