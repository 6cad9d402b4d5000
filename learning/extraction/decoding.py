"""Images for feature extraction: decoded in worker processes, at full and at half size, in the order of their list.

Images come through pipes: PyTorch's data loader takes two open files and a place in /dev/shm for each image that waits,
and containers keep /dev/shm small.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np

from common import log
from common.process import signals_delayed, worker_starter
from datasets.images.lists import FileStamp, stamp_file
from datasets.images.resampling import half_size_exactly
from networks.errors import UserError
from networks.images.formats import MAX_PIXELS
from networks.images.reading import decode_image, open_image_file, reduced


@dataclass(frozen=True)
class DecodedImage:
    """The image at ``index`` of a list: uint8 (H, W, 3), and at half size (H//2, W//2, 3)."""

    index: int
    path: str
    full: np.ndarray
    half: np.ndarray
    stamp: FileStamp


@dataclass(frozen=True)
class UnreadableImage:
    """The image at ``index`` of a list could not be read; ``reason`` is a sentence that names it."""

    index: int
    reason: str


def decode_images(
    paths: Sequence[str], n_workers: int, max_pixels: int = MAX_PIXELS, max_side: int | None = None
) -> Iterator[DecodedImage | UnreadableImage]:
    """Yields every image of ``paths`` once and in order, decoded by ``n_workers`` processes, or here where that is 0.
    Images are ``reduced`` to ``max_side``.

    The workers are at most ``n_workers`` images ahead, which bounds the memory. Where a worker ends unexpectedly, or
    images do not fit into memory beside each other, the images that were being decoded are decoded again one by one.
    Where workers cannot be started, this process decodes.
    """
    n_workers = min(n_workers, len(paths))
    pool = _start_pool(n_workers) if n_workers else None
    position = 0
    window: deque[tuple[int, Future[DecodedImage | UnreadableImage]]] = deque()
    try:
        while pool is not None and (window or position < len(paths)):
            try:
                while position < len(paths) and len(window) <= n_workers:
                    window.append((position, pool.submit(decode_file, position, paths[position], max_pixels, max_side)))
                    position += 1
                image = window[0][1].result()
            except (BrokenProcessPool, MemoryError) as error:  # noqa: PERF203  (a try costs nothing beside an image)
                pool.shutdown(cancel_futures=True)
                ended = "needs too much memory" if isinstance(error, MemoryError) else "was killed or crashed"
                log.warning(f"a decoding process {ended}; trying {len(window)} images one by one")
                indices = [index for index, _ in window]
                window.clear()
                for index in indices:
                    yield _decode_alone(index, paths[index], max_pixels, max_side)
                pool = _start_pool(n_workers)
            else:
                window.popleft()
                yield image
        for index in range(position, len(paths)):
            yield _decode_here(index, paths[index], max_pixels, max_side)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def decode_file(index: int, path: str, max_pixels: int, max_side: int | None) -> DecodedImage | UnreadableImage:
    """Decodes one image in this process; MemoryError where it does not fit into memory."""
    try:
        with open_image_file(path) as file:
            stamp = stamp_file(file)
            full = reduced(decode_image(file, path, max_pixels), max_side)
        return DecodedImage(index, path, full, half_size_exactly(full), stamp)
    except UserError as error:
        return UnreadableImage(index, error.sentence)


def _decode_here(index: int, path: str, max_pixels: int, max_side: int | None) -> DecodedImage | UnreadableImage:
    try:
        return decode_file(index, path, max_pixels, max_side)
    except MemoryError:
        return UnreadableImage(index, f"image {path} does not fit into memory")


def _decode_alone(index: int, path: str, max_pixels: int, max_side: int | None) -> DecodedImage | UnreadableImage:
    """Decodes one image in a process of its own, which it may bring to its end."""
    pool = _start_pool(1)
    if pool is None:
        return _decode_here(index, path, max_pixels, max_side)
    with pool:
        try:
            return pool.submit(_decode_here, index, path, max_pixels, max_side).result()
        except BrokenProcessPool:
            reason = "the process that tried was killed, as happens when memory runs out, or crashed"
            return UnreadableImage(index, f"image {path} cannot be decoded: {reason}")


def _start_pool(n_workers: int) -> ProcessPoolExecutor | None:
    """A pool of processes; None, with a warning, where the system does not start them."""
    # Starting by fork takes milliseconds; where it is not safe (macOS) or not there, the platform's own way.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    others = set(multiprocessing.active_children())
    try:
        pool = ProcessPoolExecutor(n_workers, context, worker_starter())
        with signals_delayed():
            pool.submit(int)  # starts the processes
        return pool
    except OSError as error:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()  # those that did start would wait for ever
            process.join()
        log.warning(f"a decoding process cannot be started ({error.strerror}); images are decoded without any")
        return None
