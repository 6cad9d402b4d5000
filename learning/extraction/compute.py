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


Launched = tuple[list[tuple[int, FileStamp]], dict[str, torch.Tensor]]
"""Index and stamp of the images of a batch, and kind -> (images, 2 * features), which a GPU may still be computing."""


def compute_features(
    inputs: Iterable[DecodedImage | UnreadableImage], extractors: Mapping[str, FeatureExtractor], batch_size: int
) -> Iterator[ComputedFeatures | UnreadableImage]:
    """Yields the result for every input, in the order in which batches fill up.

    Batches hold up to ``batch_size`` images of equal size. A batch that does not fit into memory is computed image by
    image; an image that does not fit alone is yielded as unreadable.
    """
    before: list[Launched | UnreadableImage] = []
    for batch in _batches(inputs, batch_size):
        launched: list[Launched | UnreadableImage]
        launched = [batch] if isinstance(batch, UnreadableImage) else _launch(batch, extractors)
        # A GPU computes this batch while the caller writes the features of the one before.
        yield from _finish(before)
        before = launched
        del batch  # a large image is freed before the next one arrives
    yield from _finish(before)


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
        elif image.n_pixels > LARGEST_AT_ONCE:
            yield [image]
        else:
            group = waiting.setdefault(image.full.shape, [])
            group.append(image)
            if len(group) == batch_size:
                yield waiting.pop(image.full.shape)
            while sum(len(group) * group[0].n_pixels for group in waiting.values()) >= LARGEST_AT_ONCE:
                yield waiting.pop(max(waiting, key=lambda shape: len(waiting[shape])))
    yield from waiting.values()


def _launch(batch: list[DecodedImage], extractors: Mapping[str, FeatureExtractor]) -> list[Launched | UnreadableImage]:
    """Starts the computation of a batch; of its images one by one where it does not fit into memory."""
    try:
        full, half = _stack([image.full for image in batch]), _stack([image.half for image in batch])
        values = {kind: extractor.at_two_scales(full, half) for kind, extractor in extractors.items()}
        return [([(image.index, image.stamp) for image in batch], values)]
    except RuntimeError as error:  # torch.OutOfMemoryError on a GPU, a plain RuntimeError on the CPU
        if "memory" not in str(error):
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


def _finish(launched: list[Launched | UnreadableImage]) -> Iterator[ComputedFeatures | UnreadableImage]:
    for part in launched:
        if isinstance(part, UnreadableImage):
            yield part
            continue
        images, values = part
        on_cpu = {kind: of_kind.cpu().numpy() for kind, of_kind in values.items()}
        for row, (index, stamp) in enumerate(images):
            yield ComputedFeatures(index, {kind: of_kind[row] for kind, of_kind in on_cpu.items()}, stamp)
