"""Features of any number of images, into files: decode in workers, compute in batches, go on where it stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from tqdm import tqdm

from common.atomic_files import whole_file
from common.errors import UserError
from common.progress_bar import ProgressBar
from datasets.feature_files import claim_folder, feature_file, has_features, read_encoder, single_file_encoder
from datasets.feature_inputs import FeatureInput, FeatureInputs
from datasets.image_lists import ListedImage, feature_names
from datasets.images import MAX_PIXELS
from datasets.workers import worker_starter
from learning.distributed.process_group import ProcessContext
from networks.features import FeatureExtractor

LARGEST_BATCH_PIXELS = 16_000_000
"""Pixels of a batch and of what waits for images of its size: bounds memory whatever the input."""

LONGEST_NAME = 240
"""Bytes of a file's name, of the 255 that disks allow; a temporary name is a little longer."""


@dataclass
class Summary:
    """What became of the images; ``failed`` holds a sentence for each that could not be read or computed.

    ``seconds`` is the time it took, of which ``waited`` was spent waiting for decoded images.
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
        parts: list[Summary | None] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, self)
        return Summary(
            sum(part.written for part in parts),
            sum(part.skipped for part in parts),
            [sentence for part in parts for sentence in part.failed],
            max(part.seconds for part in parts),
            max(part.waited for part in parts),
        )


def _batches(inputs: Iterator[FeatureInput], batch_size: int) -> Iterator[list[FeatureInput]]:
    """Groups images of equal size; no more than a bounded number of pixels waits for company."""
    waiting: dict[torch.Size, list[FeatureInput]] = {}
    waiting_pixels = 0
    for image in inputs:
        if image.error:
            yield [image]
            continue
        group = waiting.setdefault(image.full.shape, [])
        group.append(image)
        pixels = image.full.shape[0] * image.full.shape[1]
        waiting_pixels += pixels
        if len(group) < batch_size and waiting_pixels < LARGEST_BATCH_PIXELS:
            continue
        fullest = max(waiting.values(), key=len) if waiting_pixels >= LARGEST_BATCH_PIXELS else group
        shape = fullest[0].full.shape
        waiting_pixels -= len(fullest) * shape[0] * shape[1]
        yield waiting.pop(shape)
    yield from waiting.values()


class _OutOfMemory(UserError):
    pass


def _stack(images: list[torch.Tensor]) -> torch.Tensor:
    """Images of one size as a batch; in page-locked memory, which torch keeps and reuses, where there is a GPU."""
    batch = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    return torch.stack(images, out=batch)


def _compute(batch: list[FeatureInput], extractors: Mapping[str, FeatureExtractor]) -> dict[str, torch.Tensor]:
    """kind -> (images, 2 * features), on the extractor's device, not waited for."""
    full, half = _stack([image.full for image in batch]), _stack([image.half for image in batch])
    try:
        return {kind: extractor.at_two_scales(full, half) for kind, extractor in extractors.items()}
    except RuntimeError as error:  # torch.OutOfMemoryError on a GPU, a plain one on the CPU
        if "memory" not in str(error):
            raise
        height, width = full.shape[1:3]
        raise _OutOfMemory(f"{len(batch)} images of {width}x{height} do not fit into memory") from None


def _save(features: np.ndarray, path: Path) -> None:
    with whole_file(path, durable=False) as temporary, open(temporary, "wb") as file:
        np.save(file, features[None], allow_pickle=False)


@contextlib.contextmanager
def noted_interrupt() -> Iterator[Callable[[], None]]:
    """Ctrl-C raises KeyboardInterrupt here, as ever, and again when the function that is yielded is called.

    An exception that comes while Python deletes an object is lost, and a long run comes upon such a moment.
    """
    noted = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if noted:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def extract(
    images: list[ListedImage],
    extractors: Mapping[str, FeatureExtractor],
    output_dir: Path,
    context: ProcessContext,
    n_workers: int,
    batch_size: int,
    overwrite: bool,
    max_pixels: int = MAX_PIXELS,
) -> Summary:
    """Writes (1, 2 * features) float32 for each image and kind; every file is decoded once for all kinds.

    ``images`` is the whole list in every process; each does its own part. Images whose files are all there are
    skipped unless ``overwrite``. A file that cannot be read, or an image that does not fit into memory, goes into
    the summary, and the rest goes on. Raises UserError where the folder holds another encoder's features.
    """
    names = feature_names(images)
    for kind, extractor in extractors.items():
        claim_folder(output_dir, kind, extractor.fingerprint)

    def targets(image: ListedImage) -> dict[str, Path]:
        return {kind: feature_file(output_dir, kind, names[image.name]) for kind in extractors}

    own = images[context.rank :: context.world_size]
    to_do, summary = [], Summary()
    for image in own:
        if any(len(os.fsencode(path.name)) > LONGEST_NAME for path in targets(image).values()):
            summary.failed.append(f"image {image.path}: its name is too long for a file of features")
            print(summary.failed[-1], file=sys.stderr)
        elif overwrite or not has_features(output_dir, extractors, names[image.name]):
            to_do.append(image)
        else:
            summary.skipped += 1
    loader = DataLoader(
        FeatureInputs(to_do, max_pixels), batch_size=None, num_workers=n_workers, worker_init_fn=worker_starter()
    )
    # The first process speaks for all: they have equal shares, and go about as fast.
    bar = ProgressBar(min(len(to_do) * context.world_size, len(images)), "image", visible=context.is_first)

    def fail(image: FeatureInput, sentence: str) -> None:
        summary.failed.append(sentence)
        tqdm.write(sentence, file=sys.stderr)
        bar.add(context.world_size)

    def write(batch: list[FeatureInput], features: dict[str, torch.Tensor]) -> None:
        on_cpu = {kind: values.cpu().numpy() for kind, values in features.items()}
        for row, image in enumerate(batch):
            for kind, path in targets(to_do[image.index]).items():
                _save(on_cpu[kind][row], path)
        summary.written += len(batch)
        bar.add(len(batch) * context.world_size)

    began = time.perf_counter()
    launched: tuple[list[FeatureInput], dict[str, torch.Tensor]] | None = None
    one_by_one: list[list[FeatureInput]] = []
    batches = _batches(iter(loader), batch_size)
    with noted_interrupt() as check_interrupt:
        while True:
            check_interrupt()
            asked = time.perf_counter()
            batch = one_by_one.pop() if one_by_one else next(batches, None)
            summary.waited += time.perf_counter() - asked
            if batch is None:
                break
            if batch[0].error:
                fail(batch[0], batch[0].error)
                continue
            try:
                computed = _compute(batch, extractors)
            except _OutOfMemory as error:
                if len(batch) > 1:
                    one_by_one += [[image] for image in reversed(batch)]
                else:
                    fail(batch[0], f"image {to_do[batch[0].index].path}: {error}")
                continue
            # A GPU computes this batch while the one before is written.
            if launched:
                write(*launched)
            launched = batch, computed
        if launched:
            write(*launched)
    bar.close()
    summary.seconds = time.perf_counter() - began
    return summary.merged()


def collect(images: list[ListedImage], kinds: list[str], folder: Path, single_file: Path) -> int:
    """Puts the features in ``folder`` into one .npz, row by row, and removes the folder; returns the number of rows.

    ``datasets.feature_files`` says what the .npz holds. Memory does not grow with n.
    """
    names = feature_names(images)
    complete = [image.name for image in images if has_features(folder, kinds, names[image.name])]
    if not complete:
        raise UserError(f"{single_file} was not written: no image gave features")
    with whole_file(single_file) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        with archive.open("names.npy", "w") as entry:
            np.lib.format.write_array(entry, np.array(complete), allow_pickle=False)
        for kind in kinds:
            first = np.load(feature_file(folder, kind, names[complete[0]]), allow_pickle=False)
            with archive.open(f"{kind}.npy", "w", force_zip64=True) as entry:
                header = {"descr": "<f4", "fortran_order": False, "shape": (len(complete), first.shape[1])}
                np.lib.format.write_array_header_2_0(entry, header)
                for name in complete:
                    row = np.load(feature_file(folder, kind, names[name]), allow_pickle=False)
                    entry.write(row.astype("<f4", copy=False).tobytes())
            encoder = read_encoder(folder, kind)
            if encoder:
                with archive.open(f"{single_file_encoder(kind)}.npy", "w") as entry:
                    np.lib.format.write_array(entry, np.array(encoder), allow_pickle=False)
    shutil.rmtree(folder)
    return len(complete)


def default_workers(device: torch.device) -> int:
    """A GPU is fed by many cores; on a CPU the network takes nearly all the time, and one worker decodes ahead."""
    return min(os.cpu_count() or 1, 16) if device.type == "cuda" else 1
