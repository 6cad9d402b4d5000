"""Settings of a data worker process, made before its first image."""

import ctypes
import functools
import os
import signal
import sys
from collections.abc import Callable

import cv2
import torch

from common.process import SIGNALS

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 << 20


def use_one_core() -> None:
    """Limits this process to one core: no threads of its own, and memory kept for the next sample.

    A sample needs hundreds of arrays of a megabyte. glibc's allocator would return them to the system, and mapping and
    clearing their pages again and again costs a sixth of a sample's time.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    mallopt = _c_function("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def _c_function(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has none of that name, as on macOS and Windows."""
    return None if sys.platform == "win32" else getattr(ctypes.CDLL(None), name, None)


def worker_starter() -> Callable[..., None]:
    """Prepares workers of the calling process: ``worker_init_fn`` of a data loader, ``initializer`` of a pool."""
    return functools.partial(_start_worker, os.getpid())


def _start_worker(parent: int, worker: int = 0) -> None:
    """Settings of a worker, which leaves signals to ``parent``, and is killed by the kernel (Linux) when it ends."""
    prctl = _c_function("prctl")
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform != "win32" and os.getppid() != parent:
        os._exit(1)
    use_one_core()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
