"""What a data worker process sets up before its first image."""

import ctypes
import functools
import os
import signal
from collections.abc import Callable

import cv2
import torch

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 << 20


def _keep_freed_memory() -> None:
    """Tells glibc's allocator to reuse freed image buffers instead of returning them to the system.

    A sample needs hundreds of arrays of a megabyte; having each page mapped and cleared anew costs a sixth of its
    time. Does nothing under other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def use_one_core() -> None:
    """Makes this process one core's worth: no threads of its own, memory kept for the next sample."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    _keep_freed_memory()


def _end_with(parent: int) -> None:
    """Has the kernel end this process when ``parent`` ends, however that ends; on Linux only."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _start_worker(parent: int, worker: int) -> None:
    _end_with(parent)
    use_one_core()
    # Ctrl-C, and what schedulers send to all processes of a job, is the main process's to answer.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def worker_starter() -> Callable[[int], None]:
    """The ``worker_init_fn`` for a data loader of the calling process."""
    return functools.partial(_start_worker, os.getpid())
