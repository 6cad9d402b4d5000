"""Images -> features: decoded ahead, computed in batches of images of equal size, on the device of the extractors."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from common import log, machine
from common.progress_bar import ProgressBar
from datasets.images.lists import FileStamp, ListedImage
from learning.extraction.decoding import DecodedImage, UnreadableImage, decode_images
from networks.checkpoint_formats import load_encoder
from networks.errors import UserError, is_out_of_memory
from networks.features import LARGEST_AT_ONCE, FeatureExtractor
from networks.names import CONTENT_AWARE
from options.images import ComputeOptions


def load_extractors(
    checkpoints: Mapping[str, Path], poolings: Mapping[str, str], compute: ComputeOptions, local_rank: int = 0
) -> dict[str, FeatureExtractor]:
    """kind -> extractor; UserError, with the remedy, where a checkpoint or the device is missing.

    Each checkpoint tells its architecture, so the encoders may differ in it. ``poolings`` is kind -> one of POOLINGS.
    """
    if compute.threads is not None:
        torch.set_num_threads(compute.threads)
    device = find_device(compute.device, local_rank)
    if compute.amp:
        machine.warn_of_slow_amp(device.type)
    extractors = {}
    for kind, path in checkpoints.items():
        if not path.exists():
            raise UserError(
                f"checkpoint {path} does not exist: train an encoder (main_contrast.py), or get the released weights "
                "and put them there, or name another checkpoint (--help lists the options)"
            )
        encoder = load_encoder(path)
        extractors[kind] = FeatureExtractor(encoder, kind == CONTENT_AWARE, device, compute.amp, poolings[kind])
    return extractors


def find_device(requested: str | None, local_rank: int = 0) -> torch.device:
    """The requested device, a number for the GPU of that number; by default this process's GPU, or else the CPU."""
    if requested is None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    name = f"cuda:{requested}" if requested.isdecimal() else requested.lower()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"--device {requested} cannot be used here: {reason}") from None
    return device


@dataclass
class Summary:
    """The outcome for the images; ``failed`` holds a sentence for each that could not be read or computed.

    ``stale`` counts the images whose file had changed since its features were computed. The work took ``seconds``, of
    which ``waited`` were spent waiting for decoded images.
    """

    written: int = 0
    stale: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    waited: float = 0.0


@dataclass(frozen=True)
class ComputedFeatures:
    """Features of the image at ``index`` of a list: kind -> a tensor that a GPU may still be computing.

    ``stamp`` is that of the file they were computed from.
    """

    index: int
    on_device: dict[str, torch.Tensor]
    stamp: FileStamp

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Kind -> (2 * features,) float32, full size before half size."""
        return {kind: values.cpu().numpy() for kind, values in self.on_device.items()}


def features_of(
    images: Sequence[ListedImage],
    extractors: Mapping[str, FeatureExtractor],
    compute: ComputeOptions,
    summary: Summary,
    n_processes: int = 1,
    is_first: bool = True,
) -> Iterator[tuple[ListedImage, ComputedFeatures]]:
    """Yields each image of this process with its features, and records the outcome in ``summary``.

    An image that cannot be read or computed is printed and not yielded. The first of ``n_processes`` shows the progress
    of all: their shares are equal, and they are about equally fast.
    """
    n_workers = compute.num_workers
    if n_workers is None:  # a GPU needs many, and one decodes ahead of a CPU
        on_gpu = any(extractor.device.type == "cuda" for extractor in extractors.values())
        n_workers = min(machine.n_cores(), 16) if on_gpu else 1

    def decoded() -> Iterator[DecodedImage | UnreadableImage]:
        asked = time.perf_counter()
        paths = [image.path for image in images]
        for image in decode_images(paths, n_workers, compute.max_pixels, compute.max_side):
            summary.waited += time.perf_counter() - asked
            yield image
            asked = time.perf_counter()

    bar = ProgressBar(len(images) * n_processes, "image", visible=is_first)
    began = time.perf_counter()
    for result in compute_features(decoded(), extractors, compute.batch_size):
        if isinstance(result, UnreadableImage):
            summary.failed.append(result.reason)
            log.error(result.reason)
        else:
            summary.written += 1
            yield images[result.index], result
        bar.add(n_processes)
    bar.close()
    summary.seconds = time.perf_counter() - began


def compute_features(
    inputs: Iterable[DecodedImage | UnreadableImage], extractors: Mapping[str, FeatureExtractor], batch_size: int
) -> Iterator[ComputedFeatures | UnreadableImage]:
    """Yields the result for every input, in the order in which batches fill up.

    Batches hold up to ``batch_size`` images of equal size. A batch that does not fit into memory is computed image by
    image; an image that does not fit alone is yielded as unreadable.
    """
    before: list[ComputedFeatures | UnreadableImage] = []
    for batch in _batches(inputs, batch_size):
        launched = _launch(batch, extractors)
        # A GPU computes this batch while the caller writes the features of the one before.
        yield from before
        before = launched
        del batch  # a large image is freed before the next one arrives
    yield from before


def _batches(
    inputs: Iterable[DecodedImage | UnreadableImage], batch_size: int
) -> Iterator[list[DecodedImage] | UnreadableImage]:
    """Groups images of equal size, up to ``LARGEST_AT_ONCE`` pixels, of which as many wait for others of their size.

    A larger image is alone in its batch.
    """
    waiting: dict[tuple[int, ...], list[DecodedImage]] = {}
    for image in inputs:
        if isinstance(image, UnreadableImage):
            yield image
        elif image.full[..., 0].size > LARGEST_AT_ONCE:
            yield [image]
        else:
            group = waiting.setdefault(image.full.shape, [])
            group.append(image)
            if len(group) == batch_size:
                yield waiting.pop(image.full.shape)
            while sum(len(group) * group[0].full[..., 0].size for group in waiting.values()) >= LARGEST_AT_ONCE:
                yield waiting.pop(max(waiting, key=lambda shape: len(waiting[shape])))
    yield from waiting.values()


def _launch(
    batch: list[DecodedImage] | UnreadableImage, extractors: Mapping[str, FeatureExtractor]
) -> list[ComputedFeatures | UnreadableImage]:
    """Starts the computation of a batch; of its images one by one where it does not fit into memory."""
    if isinstance(batch, UnreadableImage):
        return [batch]
    try:
        full, half = _stack([image.full for image in batch]), _stack([image.half for image in batch])
        values = {kind: torch.cat([one(full), one(half)], dim=1) for kind, one in extractors.items()}
        rows = ({kind: of_kind[row] for kind, of_kind in values.items()} for row in range(len(batch)))
        return [ComputedFeatures(image.index, row, image.stamp) for image, row in zip(batch, rows, strict=True)]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if len(batch) > 1:
        return [part for image in batch for part in _launch([image], extractors)]
    height, width = batch[0].full.shape[:2]
    reason = f"image {batch[0].path}: its {width}x{height} pixels do not fit into memory"
    return [UnreadableImage(batch[0].index, reason)]


def _stack(images: list[np.ndarray]) -> torch.Tensor:
    """Images of one size as a batch; in page-locked memory, which torch keeps and reuses, where there is a GPU."""
    if len(images) == 1 and not torch.cuda.is_available():
        return torch.from_numpy(images[0])[None]  # not copied: a large image takes hundreds of megabytes
    batch = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    return torch.stack([torch.from_numpy(image) for image in images], out=batch)
