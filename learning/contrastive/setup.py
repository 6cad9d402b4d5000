"""The parts of a training, each built from the options: device, images and their batches, networks, optimiser."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset

from common import log
from common.names import PATH_COLUMN
from common.process import worker_starter
from datasets.distortions import DISTORTIONS, N_LEVELS
from datasets.opinions.tables import write_csv
from datasets.training.image_lists import EpochImages, read_training_csv, scan_data_folder
from datasets.training.quality_aware import QualityAwareDataset
from learning.contrastive.lars import LARS
from learning.contrastive.moco import KeyQueue, MoCo, NodeShuffle
from learning.contrastive.training_state import Learner, Position
from learning.distributed.environment import ProcessContext
from learning.distributed.process_group import from_first, gather_objects
from networks.checkpoint_formats import read_encoder
from networks.encoder import ContrastiveNetwork, amp_dtype, to_input
from networks.errors import UserError
from options.contrast import ContrastOptions

BAD_IMAGES = "bad_images.csv"


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


def epoch_batches(
    n_images: int, batch_size: int, epochs: int, seed: int, context: ProcessContext, start: Position
) -> Iterator[list[tuple[int, int]]]:
    """This process's batches of (epoch, image index), from the one after ``start`` to the end of the run.

    They span all epochs, so that data workers need no pause between two epochs. Each epoch has every image once, in an
    order drawn from (seed, epoch); the last batch is filled up with images from the beginning of that order. A batch of
    ``batch_size`` images is divided equally among the processes, so the images of a step do not depend on the number of
    processes (``check_batch_size`` has made sure that it can be divided). Epochs count from 1.
    """
    steps_per_epoch = math.ceil(n_images / batch_size)
    first_step = start.step
    for epoch in range(start.epoch + 1, epochs + 1):
        order = np.random.default_rng((seed, epoch)).permutation(n_images)
        padded = np.resize(order, steps_per_epoch * batch_size)  # np.resize repeats from the beginning
        of_process = padded.reshape(steps_per_epoch, context.world_size, -1)[:, context.rank]
        for indices in of_process[first_step:].tolist():
            yield [(epoch, index) for index in indices]
        first_step = 0


@dataclass(frozen=True)
class Samples(Dataset):
    """``[epoch, index]`` is the pair of ``EpochImages.sample``: crops, and the levels that they have reached."""

    dataset: EpochImages

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        return self.dataset.sample(*key)


def build_loader(
    dataset: EpochImages,
    batches: Iterable[list[tuple[int, int]]],
    n_workers: int,
    context: ProcessContext,
    device: torch.device,
) -> DataLoader:
    """A loader of this process's batches, with its share of the node's ``n_workers``.

    A batch is a pair of crops, uint8 (images, rows, 6, P, P), and levels reached, uint8 (images, rows, levels).
    """
    share = n_workers // context.local_size + (context.local_rank < n_workers % context.local_size)
    return DataLoader(
        Samples(dataset),
        batch_sampler=batches,
        num_workers=share,
        pin_memory=device.type == "cuda",
        worker_init_fn=worker_starter(),
    )


class BadImages:
    """Counts the images that could not be read, in all processes together; the data set replaces them.

    Rank 0 lists those of this start in ``folder``, the run's folder. At most ``max_share`` of the images may be
    unreadable.
    """

    def __init__(self, dataset: EpochImages, folder: Path, max_share: float, context: ProcessContext):
        self._dataset = dataset
        self._path = folder / BAD_IMAGES
        self._max_share = max_share
        self._context = context
        self._known: set[int] = set()
        self._listed: dict[str, str] = {}  # path -> reason
        if context.is_first:
            self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Reports new ones. Every process must call it at the same step; it raises UserError in each for too many."""
        own = set(self._dataset.unreadable().tolist()) - self._known
        new = sorted(own.union(*gather_objects(own, self._context)) - self._known)
        if not new:
            return
        self._known.update(new)
        n_bad, n_images = len(self._known), len(self._dataset)
        if self._context.is_first:
            reasons = {self._dataset.images.path(index): self._dataset.why_unreadable(index) for index in new}
            self._listed.update(reasons)
            write_csv(self._path, (PATH_COLUMN, "why"), sorted(self._listed.items()))
            last = [*reasons.values()][-1]
            log.warning(f"{n_bad:,d} unreadable images replaced by others so far, see {self._path}; the last: {last}")
        if n_bad > self._max_share * n_images:
            raise UserError(
                f"{n_bad:,d} of {n_images:,d} training images cannot be read, more than --max_bad "
                f"{100 * self._max_share:g} % allows; {self._path} lists them"
            )


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
        query_network.encoder.load_state_dict(read_encoder(options.init, options.arch)[1], strict=False)
    f_q: nn.Module = query_network
    if context.world_size > 1:
        f_q = DistributedDataParallel(
            query_network, device_ids=[device.index] if device.type == "cuda" else None, gradient_as_bucket_view=True
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
        prepare=functools.partial(to_input, normalized=options.views == "content"),
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
