"""Settings of a data worker process, made before its first image, and its start without signals."""

import contextlib
import ctypes
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import cv2
import torch

from common.process import SIGNALS

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 << 20


def _keep_freed_memory() -> None:
    """Makes glibc's allocator reuse freed image buffers instead of returning them to the system.

    A sample needs hundreds of arrays of a megabyte; mapping and clearing their pages again and again would cost a
    sixth of its time. Does nothing under other C libraries.
    """
    mallopt = _c_function("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def _c_function(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has none of that name, as on macOS and Windows."""
    return None if sys.platform == "win32" else getattr(ctypes.CDLL(None), name, None)


def use_one_core() -> None:
    """Limits this process to one core: no threads of its own, and memory kept for the next sample."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    _keep_freed_memory()


def _end_with(parent: int) -> None:
    """Makes the kernel kill this process when ``parent`` ends, for whatever reason; on Linux only."""
    prctl = _c_function("prctl")
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform != "win32" and os.getppid() != parent:
        os._exit(1)


def _start_worker(parent: int, worker: int) -> None:
    _end_with(parent)
    use_one_core()
    for number in SIGNALS:  # the main process answers them
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def worker_starter() -> Callable[[int], None]:
    """The ``worker_init_fn`` for a data loader of the calling process."""
    return functools.partial(_start_worker, os.getpid())


@contextlib.contextmanager
def signals_delayed() -> Iterator[None]:
    """Delays ``SIGNALS`` in the block, in which workers are started.

    A new worker would answer a signal as its parent does. It inherits the delay, and ends it when it ignores signals.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with _handled_afterwards():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _handled_afterwards() -> Iterator[None]:
    """Calls Python's handlers of the ``SIGNALS`` that come in the block after it.

    The mask alone does not delay them: it belongs to one thread, and the system can hand a signal to another one.
    """
    if threading.current_thread() is not threading.main_thread():  # no other thread may set handlers
        yield
        return
    handlers = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
    noted: list[tuple[int, FrameType | None]] = []
    for number in handlers:
        signal.signal(number, lambda number, frame: noted.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in noted:
            handlers[signal.Signals(number)](number, frame)
