"""The parts of a training: device, images, networks, optimiser, schedule, each built from the options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset

from common import log
from common.errors import UserError
from datasets.distortions import DISTORTIONS, N_LEVELS
from datasets.training.image_lists import TrainingImages, read_training_csv, scan_data_folder
from datasets.training.quality_aware import QualityAwareDataset
from datasets.training.workers import worker_starter
from learning.contrastive.batches import Batch, EpochBatches, split_batch
from learning.contrastive.lars import LARS
from learning.contrastive.moco import KeyQueue, MoCo, NodeShuffle, accuracy, contrastive_loss, embed, level_loss
from learning.contrastive.schedule import Schedule
from learning.contrastive.training_state import unwrapped
from learning.distributed.process_group import ProcessContext, from_first
from networks import ContrastiveNetwork
from networks.checkpoint_formats import load_encoder_state, read_checkpoint
from networks.features import FeatureExtractor, amp_dtype, normalize
from options.contrast import ContrastOptions

if TYPE_CHECKING:
    from datasets.training.content_aware import ContentAwareDataset
    from learning.contrastive.probe import Probe


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


def list_training_images(options: ContrastOptions, context: ProcessContext) -> TrainingImages:
    """The images of the CSV, or of the folder. Rank 0 reads the list and hands it to the other ranks.

    Raises UserError for a list that cannot be used, and on each node for images that do not exist there.
    """

    def read() -> TrainingImages:
        return scan_data_folder(options.data_folder) if options.data_folder else read_training_csv(options.csv_path)

    images = from_first(read, context)
    if context.local_rank == 0:
        images.check_existence()
    return images


def build_dataset(options: ContrastOptions, images: TrainingImages) -> ContentAwareDataset | QualityAwareDataset:
    """The data set of ``--views``, which makes training samples of ``images``."""
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
        with_levels=options.level_weight > 0,
    )


def build_loader(
    dataset: Dataset, batches: EpochBatches, n_workers: int, context: ProcessContext, device: torch.device
) -> DataLoader:
    """A loader of this process's batches, with its share of the node's ``n_workers``."""
    share = n_workers // context.local_size + (context.local_rank < n_workers % context.local_size)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=share,
        pin_memory=device.type == "cuda",
        worker_init_fn=worker_starter(),
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
        shuffle=NodeShuffle(context, seed=options.seed),
        negatives=options.negatives,
    )


def _settle_buckets(network: DistributedDataParallel, device: torch.device) -> None:
    """Makes DDP put its gradient buckets into their final order, which it does after its first backward pass.

    With three or more processes, a gradient's place in a bucket decides the order of summation. Without this, the
    first step after a restart would round differently from the same step of an uninterrupted run.
    """
    network.eval()  # keeps BatchNorm's running statistics
    embeddings, level_logits = embed(network, torch.zeros(1, 3, 32, 32, device=device))
    total = embeddings.sum() if level_logits is None else embeddings.sum() + level_logits.sum()
    total.backward()
    network.zero_grad(set_to_none=True)
    network.train()


def build_optimizer(options: ContrastOptions, moco: MoCo) -> Optimizer:
    """The optimiser of ``--optimizer`` for the query network; the key network follows without one."""
    parameters = moco.f_q.parameters()
    if options.optimizer == "AdamW":
        return AdamW(parameters, options.learning_rate, weight_decay=options.weight_decay)
    if options.optimizer == "LARS":
        return LARS(parameters, options.learning_rate, options.weight_decay, options.momentum)
    return SGD(parameters, options.learning_rate, momentum=options.momentum, weight_decay=options.weight_decay)


def build_schedule(options: ContrastOptions) -> Schedule:
    """The learning rate of every step."""
    return Schedule(
        options.learning_rate,
        options.epochs,
        options.cosine,
        options.lr_decay_rate,
        options.lr_decay_epochs,
        options.warm,
        by_step=options.schedule == "step",
    )


@dataclass(frozen=True)
class Learner:
    """What a training step changes: networks and queue, optimiser, and the scaler of half-precision gradients."""

    moco: MoCo
    optimizer: Optimizer
    scaler: GradScaler
    device: torch.device
    amp: bool
    level_weight: float

    def step(self, batch: Batch, learning_rate: float, step: int) -> tuple[Tensor, Tensor]:
        """Trains on a batch, uint8 (images, rows, 6, P, P): query and key crop of every row of every image.

        With a ``level_weight`` the batch also holds the levels reached, uint8 (images, rows, kinds, levels). ``step``
        is the number of the step in the whole run. Returns loss and accuracy, on the device.
        """
        all_crops, reached = split_batch(batch)
        crops = all_crops.to(self.device, non_blocking=True).flatten(0, 1)  # (N, 6, P, P)
        x_q, x_k = crops.split(3, dim=1)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

        with torch.autocast(self.device.type, dtype=amp_dtype(self.device), enabled=self.amp):
            logits, keys, level_logits = self.moco(x_q, x_k, step)
        loss = contrastive_loss(logits)
        if reached is not None and level_logits is not None:
            reached = reached.to(self.device, non_blocking=True).flatten(0, 1).flatten(1)  # (N, levels)
            loss = loss + self.level_weight * level_loss(level_logits, reached)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.moco.advance(keys)
        return loss.detach(), accuracy(logits.detach())


def build_learner(options: ContrastOptions, context: ProcessContext, device: torch.device) -> Learner:
    """Networks, queue, optimiser and gradient scaler on ``device``. Raises UserError as ``build_moco`` does."""
    moco = build_moco(options, context, device)
    scaler = GradScaler(device.type, enabled=options.amp and amp_dtype(device) == torch.float16)
    return Learner(moco, build_optimizer(options, moco), scaler, device, options.amp, options.level_weight)


def build_probe(options: ContrastOptions, learner: Learner, context: ProcessContext) -> Probe | None:
    """The probe of ``--probe``, if it is given. Rank 0 reads the table; each rank reads its share of the images."""
    path = options.probe
    if path is None:
        return None
    # Most trainings have no probe, and these imports (pandas, scikit-learn) take seconds.
    from learning.contrastive.probe import Probe, read_probe_set

    def make_extractor() -> FeatureExtractor:
        encoder = unwrapped(learner.moco.f_q).get_submodule("encoder")
        return FeatureExtractor(encoder, options.views == "content", learner.device, options.amp)

    probe_set = from_first(lambda: read_probe_set(path), context)
    pixels_per_step = options.batch_size * options.rows_per_image * options.patch_size**2
    probe = Probe(probe_set, make_extractor, options.probe_every, pixels_per_step, context)
    log.info(f"probe: {probe_set.n_images:,d} images of {path}, measured every {probe.every:,d} steps")
    return probe
