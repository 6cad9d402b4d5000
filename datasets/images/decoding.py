"""Images for feature extraction: decoded in worker processes, at full and at half size, in the order of their list.

Each worker decodes one image and hands it over through a pipe; it starts the next one when that is done. So memory is
bounded by one image for each worker, and no shared memory is needed, which containers keep small: PyTorch's data loader
takes two open files and a place in /dev/shm for each image that waits.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np

from common import log
from common.errors import UserError
from datasets.features.stamps import FileStamp, stamp_file
from datasets.images.reading import MAX_PIXELS, decode_image, open_image_file
from datasets.images.resampling import half_size_exactly
from datasets.training.workers import signals_delayed, worker_starter

_CHUNK = 1 << 20


@dataclass(frozen=True)
class DecodedImage:
    """The image at ``index`` of a list: uint8 (H, W, 3), and at half size (H//2, W//2, 3)."""

    index: int
    path: str
    full: np.ndarray
    half: np.ndarray
    stamp: FileStamp

    @property
    def n_pixels(self) -> int:
        return self.full.shape[0] * self.full.shape[1]


@dataclass(frozen=True)
class UnreadableImage:
    """The image at ``index`` of a list could not be read; ``reason`` is a sentence that names it."""

    index: int
    reason: str
    out_of_memory: bool = False


def decode_images(
    paths: Sequence[str], n_workers: int, max_pixels: int = MAX_PIXELS
) -> Iterator[DecodedImage | UnreadableImage]:
    """Yields every image of ``paths`` once, decoded by ``n_workers`` processes, or by this one where that is 0.

    Images come in order, but for those that did not fit into memory beside others: these are tried again alone, last.
    A worker that ends unexpectedly is replaced, and its image tried once more. Where workers cannot be started,
    fewer do the work, or this process.
    """
    too_large = []
    with_workers = _decode_with_workers(paths, range(len(paths)), n_workers, max_pixels)
    for image in with_workers if n_workers else _decode_here(paths, range(len(paths)), max_pixels):
        if isinstance(image, UnreadableImage) and image.out_of_memory and n_workers > 1:
            too_large.append(image.index)
        else:
            yield image
    yield from _decode_with_workers(paths, too_large, 1, max_pixels)


def decode_file(index: int, path: str, max_pixels: int) -> DecodedImage | UnreadableImage:
    """Decodes one image in this process."""
    try:
        with open_image_file(path) as file:
            stamp = stamp_file(file)
            full = decode_image(file, path, max_pixels)
        return DecodedImage(index, path, full, half_size_exactly(full), stamp)
    except UserError as error:
        return UnreadableImage(index, error.sentence)
    except MemoryError:
        return UnreadableImage(index, f"image {path} does not fit into memory", out_of_memory=True)


def _decode_here(
    paths: Sequence[str], indices: Sequence[int], max_pixels: int
) -> Iterator[DecodedImage | UnreadableImage]:
    for index in indices:
        yield decode_file(index, paths[index], max_pixels)


def _decode_with_workers(
    paths: Sequence[str], indices: Sequence[int], n_workers: int, max_pixels: int
) -> Iterator[DecodedImage | UnreadableImage]:
    workers = _start_workers(min(n_workers, len(indices)), max_pixels)
    if not workers:
        yield from _decode_here(paths, indices, max_pixels)
        return
    to_assign = deque(indices)
    assigned: deque[tuple[int, _Worker]] = deque()
    try:
        for worker in workers:
            _assign(to_assign, worker, assigned, paths)
        while assigned:
            index, worker = assigned.popleft()
            image, successor = _receive(index, paths[index], worker, workers, max_pixels)
            if successor is not None:
                _assign(to_assign, successor, assigned, paths)
            yield image
        yield from _decode_here(paths, to_assign, max_pixels)  # no worker could be started again
    finally:
        for worker in workers:
            worker.stop()


def _assign(to_assign: deque[int], worker: _Worker, assigned: deque[tuple[int, _Worker]], paths: Sequence[str]) -> None:
    if to_assign:
        index = to_assign.popleft()
        worker.ask(index, paths[index])
        assigned.append((index, worker))


def _receive(
    index: int, path: str, worker: _Worker, workers: list[_Worker], max_pixels: int, last_attempt: bool = False
) -> tuple[DecodedImage | UnreadableImage, _Worker | None]:
    """The image that ``worker`` was asked for, and the worker that is free now: the same one or its successor."""
    try:
        return worker.receive(index, path), worker
    except MemoryError:
        successor = _replace(worker, workers, max_pixels)
        return UnreadableImage(index, f"image {path} does not fit into memory", out_of_memory=True), successor
    except (EOFError, OSError):
        ending = worker.ending()
        successor = _replace(worker, workers, max_pixels)
    if successor is None or last_attempt:
        return UnreadableImage(index, f"image {path} cannot be decoded: the process that tried {ending}"), successor
    log.warning(f"a decoding process {ending}; trying image {path} once more")
    successor.ask(index, path)
    return _receive(index, path, successor, workers, max_pixels, last_attempt=True)


def _replace(worker: _Worker, workers: list[_Worker], max_pixels: int) -> _Worker | None:
    """Stops a worker and starts its successor; None where that is not possible."""
    workers.remove(worker)
    worker.stop()
    successors = _start_workers(1, max_pixels)
    workers += successors
    return successors[0] if successors else None


class _Worker:
    """A decoding process and the pipe to it."""

    def __init__(self, max_pixels: int):
        # Starting by fork takes milliseconds; where it is not safe (macOS) or not there, the platform's own way.
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
        start = worker_starter() if sys.platform != "win32" else None
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, max_pixels, start), daemon=True)
        try:
            with signals_delayed():
                self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    def ask(self, index: int, path: str) -> None:
        """Has the worker decode an image; a worker that has ended is noticed in ``receive``."""
        with contextlib.suppress(OSError):
            self._connection.send((index, path))

    def receive(self, index: int, path: str) -> DecodedImage | UnreadableImage:
        """The image asked for. Raises EOFError or OSError where the worker has ended, MemoryError where it is large."""
        answer = self._connection.recv()
        if isinstance(answer, UnreadableImage):
            return answer
        full_shape, half_shape, stamp = answer
        full, half = np.empty(full_shape, np.uint8), np.empty(half_shape, np.uint8)
        for pixels in (full, half):
            view = memoryview(pixels.data).cast("B")
            for start in range(0, len(view), _CHUNK):
                self._connection.recv_bytes_into(view[start : start + _CHUNK])
        return DecodedImage(index, path, full, half, stamp)

    def ending(self) -> str:
        """How the worker has ended, for a person."""
        self._connection.close()
        self._process.join(5)
        code = self._process.exitcode
        if sys.platform != "win32" and code == -signal.SIGKILL:
            return "was killed (signal 9), as happens when memory runs out"
        return f"ended with signal {-code}" if code is not None and code < 0 else f"ended with status {code}"

    def stop(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()


def _start_workers(n: int, max_pixels: int) -> list[_Worker]:
    """``n`` workers, or as many as can be started."""
    workers: list[_Worker] = []
    try:
        for _ in range(n):
            workers.append(_Worker(max_pixels))  # noqa: PERF401  (those that did start are kept)
    except OSError as error:
        rest = f"{len(workers)} of {n} decode" if workers else "images are decoded without any"
        log.warning(f"a decoding process cannot be started ({error.strerror}); {rest}")
    return workers


def _work(connection: Connection, max_pixels: int, start: Callable[[int], None] | None) -> None:
    """The life of a worker: decodes what it is asked for until the pipe closes."""
    if start is not None:
        start(0)
    try:
        while True:
            index, path = connection.recv()
            image = decode_file(index, path, max_pixels)
            if isinstance(image, UnreadableImage):
                connection.send(image)
                continue
            connection.send((image.full.shape, image.half.shape, image.stamp))
            for pixels in (image.full, image.half):
                view = memoryview(pixels.data).cast("B")
                for begin in range(0, len(view), _CHUNK):
                    connection.send_bytes(view[begin : begin + _CHUNK])
            del image, pixels, view  # not kept while the parent computes
    except (EOFError, OSError):  # the parent has ended, or needs no more images
        return
