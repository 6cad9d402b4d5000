"""Decoded images -> features, in batches of images of equal size, on the device of the extractors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from datasets.features.stamps import FileStamp
from learning.extraction.decoding import DecodedImage, UnreadableImage
from networks.features import LARGEST_AT_ONCE, FeatureExtractor


@dataclass(frozen=True)
class ComputedFeatures:
    """Features of the image at ``index`` of a list: kind -> (2 * features,) float32, full size before half size.

    ``stamp`` is that of the file they were computed from.
    """

    index: int
    values: dict[str, np.ndarray]
    stamp: FileStamp


@dataclass(frozen=True)
class FailedImage:
    """The image at ``index`` of a list has no features; ``reason`` is a sentence that names it."""

    index: int
    reason: str


@dataclass(frozen=True)
class _Launched:
    """A batch whose features (images, 2 * features) a GPU may still be computing."""

    images: list[tuple[int, FileStamp]]
    values: dict[str, torch.Tensor]


def compute_features(
    inputs: Iterable[DecodedImage | UnreadableImage],
    extractors: Mapping[str, FeatureExtractor],
    batch_size: int,
) -> Iterator[ComputedFeatures | FailedImage]:
    """Yields the result for every input, in the order in which batches fill up.

    Batches hold up to ``batch_size`` images of equal size. A batch that does not fit into memory is computed image by
    image; an image that does not fit alone is yielded as failed.
    """
    before: list[_Launched | FailedImage] = []
    for batch in _batches(inputs, batch_size):
        launched: list[_Launched | FailedImage] = []
        launched += [batch] if isinstance(batch, FailedImage) else _launch(batch, extractors)
        # A GPU computes this batch while the caller writes the features of the one before.
        yield from _finish(before)
        before = launched
        del batch  # a large image is freed before the next one arrives
    yield from _finish(before)


def _batches(
    inputs: Iterable[DecodedImage | UnreadableImage], batch_size: int
) -> Iterator[list[DecodedImage] | FailedImage]:
    """Groups images of equal size, up to ``LARGEST_AT_ONCE`` pixels, of which as many wait for others of their size.

    A larger image is alone in its batch.
    """
    waiting: dict[tuple[int, ...], list[DecodedImage]] = {}

    def waiting_pixels() -> int:
        return sum(len(group) * group[0].n_pixels for group in waiting.values())

    for image in inputs:
        if isinstance(image, UnreadableImage):
            yield FailedImage(image.index, image.reason)
            continue
        if image.n_pixels > LARGEST_AT_ONCE:
            yield [image]
            continue
        group = waiting.setdefault(image.full.shape, [])
        group.append(image)
        if len(group) == batch_size:
            yield waiting.pop(image.full.shape)
        while waiting_pixels() >= LARGEST_AT_ONCE:
            yield waiting.pop(max(waiting, key=lambda shape: len(waiting[shape])))
    yield from waiting.values()


class _OutOfMemory(Exception):
    pass


def _launch(batch: list[DecodedImage], extractors: Mapping[str, FeatureExtractor]) -> Iterator[_Launched | FailedImage]:
    try:
        yield _Launched([(image.index, image.stamp) for image in batch], _at_two_scales(batch, extractors))
    except _OutOfMemory:
        if len(batch) > 1:
            for image in batch:
                yield from _launch([image], extractors)
        else:
            height, width = batch[0].full.shape[:2]
            reason = f"image {batch[0].path}: its {width}x{height} pixels do not fit into memory"
            yield FailedImage(batch[0].index, reason)


def _at_two_scales(batch: list[DecodedImage], extractors: Mapping[str, FeatureExtractor]) -> dict[str, torch.Tensor]:
    """kind -> (images, 2 * features), on the extractor's device, possibly still being computed."""
    full, half = _stack([image.full for image in batch]), _stack([image.half for image in batch])
    try:
        return {kind: extractor.at_two_scales(full, half) for kind, extractor in extractors.items()}
    except RuntimeError as error:  # torch.OutOfMemoryError on a GPU, a plain RuntimeError on the CPU
        if "memory" not in str(error):
            raise
        raise _OutOfMemory from None


def _stack(images: list[np.ndarray]) -> torch.Tensor:
    """Images of one size as a batch; in page-locked memory, which torch keeps and reuses, where there is a GPU."""
    if len(images) == 1 and not torch.cuda.is_available():
        return torch.from_numpy(images[0])[None]  # not copied: a large image takes hundreds of megabytes
    batch = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    return torch.stack([torch.from_numpy(image) for image in images], out=batch)


def _finish(launched: list[_Launched | FailedImage]) -> Iterator[ComputedFeatures | FailedImage]:
    for part in launched:
        if isinstance(part, FailedImage):
            yield part
            continue
        on_cpu = {kind: values.cpu().numpy() for kind, values in part.values.items()}
        for row, (index, stamp) in enumerate(part.images):
            yield ComputedFeatures(index, {kind: values[row] for kind, values in on_cpu.items()}, stamp)
