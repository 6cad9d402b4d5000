"""Features of any number of images, into files: a plan of what is missing, computed features, and their writer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from common import log
from common.progress_bar import ProgressBar
from datasets.feature_files import claim_folder, fits_on_disk, has_features, write_features
from datasets.feature_inputs import FeatureInputs
from datasets.image_lists import ListedImage, feature_names
from datasets.workers import worker_starter
from learning.distributed.process_group import ProcessContext
from learning.extraction.compute import FailedImage, compute_features
from learning.extraction.interrupts import noted_interrupt
from networks.features import FeatureExtractor
from options.features import ComputeOptions

T = TypeVar("T")


@dataclass
class Summary:
    """The outcome for the images; ``failed`` holds a sentence for each that could not be read or computed.

    The work took ``seconds``, of which ``waited`` were spent waiting for decoded images.
    """

    written: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    waited: float = 0.0

    def merged(self) -> Summary:
        """The sum over all processes, in every process."""
        if not dist.is_initialized():
            return self
        gathered: list[Summary | None] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, self)
        parts = [part for part in gathered if part is not None]
        return Summary(
            written=sum(part.written for part in parts),
            skipped=sum(part.skipped for part in parts),
            failed=[sentence for part in parts for sentence in part.failed],
            seconds=max(part.seconds for part in parts),
            waited=max(part.waited for part in parts),
        )


def with_workers(compute: ComputeOptions, device: torch.device) -> ComputeOptions:
    """The options with a number of workers that suits ``device``, where none was given.

    A GPU needs many. On a CPU the network takes nearly all the time, and one worker decodes ahead of it.
    """
    if compute.num_workers is not None:
        return compute
    return replace(compute, num_workers=min(os.cpu_count() or 1, 16) if device.type == "cuda" else 1)


def extract_features(
    images: list[ListedImage],
    extractors: Mapping[str, FeatureExtractor],
    output_dir: Path,
    context: ProcessContext,
    compute: ComputeOptions,
    overwrite: bool = False,
) -> Summary:
    """Writes (1, 2 * features) float32 for each image and kind; every file is decoded once for all kinds.

    ``images`` is the complete list in every process; each process computes its share. Images that have all their
    features are skipped unless ``overwrite``. An image that cannot be read or computed is reported in the summary,
    and the rest continues. Raises UserError where the folder holds features of a different encoder.
    """
    for kind, extractor in extractors.items():
        claim_folder(output_dir, kind, extractor.fingerprint)
    names = feature_names(images)
    summary = Summary()
    to_do = []
    for image in images[context.rank :: context.world_size]:
        if not fits_on_disk(extractors, names[image.name]):
            _report(f"image {image.path}: its name is too long for a file of features", summary)
        elif overwrite or not has_features(output_dir, extractors, names[image.name]):
            to_do.append(image)
        else:
            summary.skipped += 1

    inputs = TimedIterable(_decoded(to_do, compute))
    # Rank 0 shows the progress of all: the ranks have equal shares and are about equally fast.
    bar = ProgressBar(min(len(to_do) * context.world_size, len(images)), "image", visible=context.is_first)
    began = time.perf_counter()
    with noted_interrupt() as check_interrupt:
        for result in compute_features(inputs, extractors, compute.batch_size):
            check_interrupt()
            if isinstance(result, FailedImage):
                _report(result.reason, summary)
            else:
                write_features(output_dir, names[to_do[result.index].name], result.values)
                summary.written += 1
            bar.add(context.world_size)
    bar.close()
    summary.seconds, summary.waited = time.perf_counter() - began, inputs.seconds
    return summary.merged()


def _report(sentence: str, summary: Summary) -> None:
    summary.failed.append(sentence)
    log.error(sentence)


def _decoded(images: list[ListedImage], compute: ComputeOptions) -> DataLoader:
    return DataLoader(
        FeatureInputs(images, compute.max_pixels),
        batch_size=None,
        num_workers=1 if compute.num_workers is None else compute.num_workers,
        worker_init_fn=worker_starter(),
    )


class TimedIterable(Iterable[T]):
    """Iterates over ``items`` and adds up the ``seconds`` spent waiting for them."""

    def __init__(self, items: Iterable[T]):
        self._items = items
        self.seconds = 0.0

    def __iter__(self) -> Iterator[T]:
        items = iter(self._items)
        while True:
            asked = time.perf_counter()
            item = next(items, None)
            self.seconds += time.perf_counter() - asked
            if item is None:
                return
            yield item
