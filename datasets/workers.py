"""What a data worker process sets up before its first image."""

import ctypes
import signal

import cv2
import torch

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


def start_worker(worker: int) -> None:
    """``worker_init_fn`` of every data loader; Ctrl-C is the main process's to answer."""
    use_one_core()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
