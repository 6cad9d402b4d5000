"""``python -m benchmarks.slow_disk``: images as single files and in tar shards, on a disk with 200 us per operation.

The disk is a folder behind FUSE that waits before each operation (Linux; ``pip install fusepy``, ``apt-get install
libfuse2``). One image in ten is read, each once and in random order, since neighbours in a shard would otherwise come
from the kernel's read-ahead. Files and shards take turns, and the faster turn counts. The operations per image do not
depend on the load of the machine; the times do.
"""

import argparse
import contextlib
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.data_pipeline import write_photographs
from benchmarks.table import Row, print_table
from datasets.images.reading import open_image_file
from datasets.training.content_aware import ContentAwareDataset
from datasets.training.image_lists import TrainingImages, read_training_csv
from datasets.training.quality_aware import QualityAwareDataset
from datasets.training.shard_writing import write_shards
from datasets.training.workers import worker_starter

try:
    from fuse import FUSE, Operations

    MISSING = "" if Path("/dev/fuse").exists() else "/dev/fuse does not exist"
except (ImportError, OSError) as error:
    Operations, MISSING = object, str(error)

WIDTH, HEIGHT = 512, 384
N_DIFFERENT = 12
SHARD_MEGABYTES = 20
N_TURNS = 2
OPERATIONS = ("getattr", "open", "read", "release")


class SlowFolder(Operations):
    """The files of a folder, read-only; each operation waits ``latency`` seconds and is counted."""

    def __init__(self, root: Path, latency: float, counts):
        self._root = os.fspath(root)
        self._latency = latency
        self._counts = counts

    def __call__(self, operation: str, path: str, *arguments):
        if operation in OPERATIONS:
            time.sleep(self._latency)
            with self._counts.get_lock():
                self._counts[OPERATIONS.index(operation)] += 1
        return super().__call__(operation, self._root + path, *arguments)

    def getattr(self, path, handle=None):
        status = os.lstat(path)
        return {name: getattr(status, name) for name in ("st_mode", "st_nlink", "st_size", "st_mtime", "st_ctime")}

    def readdir(self, path, handle):
        return [".", "..", *os.listdir(path)]

    def open(self, path, flags):
        return os.open(path, flags)

    def read(self, path, size, offset, handle):
        return os.pread(handle, size, offset)

    def release(self, path, handle):
        os.close(handle)


def serve(root: Path, mount: Path, latency: float, counts) -> None:
    FUSE(SlowFolder(root, latency, counts), os.fspath(mount), foreground=True, ro=True)


@contextlib.contextmanager
def slow_disk(root: Path, mount: Path, latency: float) -> Iterator[Callable[[], np.ndarray]]:
    """Shows ``root`` at ``mount`` until the block ends; yields a function for the operations so far."""
    counts = multiprocessing.Array("q", len(OPERATIONS))
    mount.mkdir(exist_ok=True)
    server = multiprocessing.get_context("fork").Process(target=serve, args=(root, mount, latency, counts))
    server.start()
    try:
        while not mount.is_mount():
            if not server.is_alive():
                raise RuntimeError(f"FUSE ended with status {server.exitcode}")
            time.sleep(0.05)
        yield lambda: np.array(counts[:])
    finally:
        server.terminate()  # unmounts
        server.join()


def write_images(folder: Path, n_images: int) -> Path:
    """The same photographs as JPEG files and in shards, below ``folder``."""
    (folder / "files").mkdir(parents=True)
    made = read_training_csv(write_photographs(folder, WIDTH, HEIGHT, N_DIFFERENT))
    contents = [Path(made.path(index)).read_bytes() for index in range(N_DIFFERENT)]
    paths = [folder / "files" / f"{index:06d}.jpg" for index in range(n_images)]
    for index, path in enumerate(paths):
        path.write_bytes(contents[index % N_DIFFERENT])
    write_shards([str(path) for path in paths], folder / "shards", SHARD_MEGABYTES)
    return folder


def images_on(mount: Path, kind: str, n_images: int) -> TrainingImages:
    """The list of the images on the slow disk, as single files or in shards."""
    if kind == "shards":
        return read_training_csv(mount / "shards")
    paths = [os.fsencode(mount / "files" / f"{index:06d}.jpg") for index in range(n_images)]
    return TrainingImages(f"folder {mount}", np.array(paths), None)


def seconds_to_read(images: TrainingImages, order: list[int]) -> float:
    """Reads the bytes of the images, without decoding them."""
    began = time.perf_counter()
    for index in order:
        if images.shards is not None:
            images.shards.read(index)
        else:
            with open_image_file(images.path(index)) as file:
                file.read()
    return time.perf_counter() - began


def seconds_to_load(dataset: Dataset, order: list[int]) -> float:
    """One worker makes the samples; the time counts from the first batch, when the worker has started."""
    loaded = iter(DataLoader(dataset, 4, sampler=order, num_workers=1, worker_init_fn=worker_starter()))
    next(loaded)
    began = time.perf_counter()
    for _ in loaded:
        pass
    return time.perf_counter() - began


MEASURES: dict[str, Callable[[TrainingImages, list[int]], float]] = {
    "bytes, one process": seconds_to_read,
    "content views, one worker": lambda images, order: seconds_to_load(ContentAwareDataset(images), order),
    "quality-aware samples, one worker": lambda images, order: seconds_to_load(
        QualityAwareDataset(images, patch_size=160), order
    ),
}


def rows(n_images: int = 2000, latency_us: int = 200) -> Iterator[Row]:
    """For each way of using the images: files and shards, each on a disk with an empty cache."""
    if MISSING:
        yield Row("slow disk", f"not measured: needs FUSE and fusepy ({MISSING})")
        return
    torch.set_num_threads(1)
    order = np.random.default_rng(0).permutation(n_images)[: n_images // 10].tolist()
    with tempfile.TemporaryDirectory() as folder:
        root = write_images(Path(folder, "disk"), n_images)
        for what, measure in MEASURES.items():
            seconds, operations = {"shards": math.inf, "files": math.inf}, {}
            for kind in ("shards", "files") * N_TURNS:
                with slow_disk(root, Path(folder, "slow"), latency_us / 1e6) as count:
                    images = images_on(Path(folder, "slow"), kind, n_images)
                    before = count()
                    seconds[kind] = min(seconds[kind], measure(images, order))
                    operations[kind] = (count() - before).sum() / len(order)
            yield Row(
                f"{latency_us} us per operation: {what}",
                f"{len(order) / seconds['shards']:.0f} images/s",
                f"single files, {len(order) / seconds['files']:.0f}",
                f"{seconds['files'] / seconds['shards']:.2f}",
            )
            yield Row("  operations per image", f"{operations['shards']:.1f}", f"{operations['files']:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_disk", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="images on the disk; one in ten is read")
    parser.add_argument("--latency_us", type=int, default=200, help="microseconds that each operation waits")
    options = parser.parse_args()
    print_table(rows(options.images, options.latency_us))


if __name__ == "__main__":
    main()
