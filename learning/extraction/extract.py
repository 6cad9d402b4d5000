"""Features of any number of images: a plan of what is missing, one pass that computes it, and a writer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch.distributed as dist

from common import log, machine
from common.progress_bar import ProgressBar
from datasets.features.files import FeatureFolder, FeaturePlan, claim_folder
from datasets.images.lists import ListedImage
from learning.distributed.process_group import ProcessContext
from learning.extraction.compute import ComputedFeatures, FailedImage, compute_features
from learning.extraction.decoding import decode_images
from networks.features import FeatureExtractor
from options.features import ComputeOptions

T = TypeVar("T")


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

    def merged(self) -> Summary:
        """The sum over all processes, in every process."""
        if not dist.is_initialized():
            return self
        gathered: list[Summary | None] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, self)
        parts = [part for part in gathered if part is not None]
        return Summary(
            written=sum(part.written for part in parts),
            stale=sum(part.stale for part in parts),
            skipped=sum(part.skipped for part in parts),
            failed=[sentence for part in parts for sentence in part.failed],
            seconds=max(part.seconds for part in parts),
            waited=max(part.waited for part in parts),
        )


def default_workers(extractors: Mapping[str, FeatureExtractor]) -> int:
    """A number of decoding processes that suits the device of the extractors.

    A GPU needs many. On a CPU the network takes nearly all the time, and one worker decodes ahead of it.
    """
    on_gpu = any(extractor.device.type == "cuda" for extractor in extractors.values())
    return min(machine.n_cores(), 16) if on_gpu else 1


LONG_LIST = 200
"""Images from which on a faster way is worth a line, and the minute that --compile takes."""


def faster_way(n_images: int, extractors: Mapping[str, FeatureExtractor], compute: ComputeOptions) -> str:
    """A sentence on the options with which this processor is several times as fast; empty where there are none."""
    on_cpu = all(extractor.device.type == "cpu" for extractor in extractors.values())
    if n_images < LONG_LIST or not on_cpu or (compute.amp and compute.compile) or not machine.has_amx():
        return ""
    return "this processor has AMX: --amp --compile computes features several times as fast, but less exactly"


def extract_features(
    images: Sequence[ListedImage],
    extractors: Mapping[str, FeatureExtractor],
    folder: FeatureFolder,
    context: ProcessContext,
    compute: ComputeOptions,
    overwrite: bool = False,
) -> Summary:
    """Writes (1, 2 * features) float32 for each image and kind; every file is decoded once for all kinds.

    ``images`` is the complete list in every process; each process computes its share. Images that have all their
    features, up to date, are skipped unless ``overwrite``. An image that cannot be read or computed is reported in the
    summary, and the rest continues. Raises UserError where the folder holds features of a different encoder.
    """
    for kind, extractor in extractors.items():
        claim_folder(folder.folder, kind, extractor.identity)
    plan = folder.plan(images, slice(context.rank, None, context.world_size), overwrite)
    extraction = Extraction([images[position] for position in plan.to_do], extractors, compute, context)
    for image, features in extraction:
        folder.write(image, plan.names[image.name], features.values, features.stamp)
    return extraction.summary(plan).merged()


class Extraction:
    """One pass over ``images``: iterating yields each image with its features.

    An image that cannot be read or computed is printed and not yielded; ``failed`` holds a sentence for each.
    """

    def __init__(
        self,
        images: Sequence[ListedImage],
        extractors: Mapping[str, FeatureExtractor],
        compute: ComputeOptions,
        context: ProcessContext | None = None,
    ):
        self._images = images
        self._extractors = extractors
        self._compute = compute
        self._context = context or ProcessContext()
        self._n_computed = 0
        self._seconds = 0.0
        paths = [image.path for image in images]
        n_workers = default_workers(extractors) if compute.num_workers is None else compute.num_workers
        self._inputs = TimedIterable(decode_images(paths, n_workers, compute.max_pixels))
        self.failed: list[str] = []

    def __iter__(self) -> Iterator[tuple[ListedImage, ComputedFeatures]]:
        n_processes = self._context.world_size
        # Rank 0 shows the progress of all: the ranks have equal shares and are about equally fast.
        bar = ProgressBar(len(self._images) * n_processes, "image", visible=self._context.is_first)
        hint = faster_way(len(self._images), self._extractors, self._compute)
        if hint and self._context.is_first:
            log.info(hint)
        began = time.perf_counter()
        for result in compute_features(self._inputs, self._extractors, self._compute.batch_size):
            if isinstance(result, FailedImage):
                self.failed.append(result.reason)
                log.error(result.reason)
            else:
                self._n_computed += 1
                yield self._images[result.index], result
            bar.add(n_processes)
        bar.close()
        self._seconds = time.perf_counter() - began

    def summary(self, plan: FeaturePlan) -> Summary:
        """The outcome, after the last image."""
        return Summary(
            written=self._n_computed,
            stale=plan.n_stale,
            skipped=len(plan.fresh),
            failed=self.failed,
            seconds=self._seconds,
            waited=self._inputs.seconds,
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
