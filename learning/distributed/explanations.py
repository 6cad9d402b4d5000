"""What torch says when something breaks, as sentences with a remedy."""

from __future__ import annotations

import re

import torch
import torch.distributed as dist


def lost_contact(error: BaseException) -> bool:
    """Whether a process failed since another one is gone: gloo's and NCCL's errors, which have no type in common."""
    text = str(error)
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo/" in text or "Gloo" in text or "NCCL" in text)
    )


def explain(error: BaseException) -> str | None:
    """A sentence for what a person can mend, by its text, since torch raises RuntimeError for all; else None."""
    text = " ".join(str(error).split())
    shared_memory = "shared memory" in text or "(shm)" in text or "Bus error" in text or "torch_shm" in text
    if shared_memory or ("unable to write to file" in text and "No space" in text):
        return (
            "the shared memory (/dev/shm), through which data workers hand over their batches, is too small: enlarge "
            "it (docker run --shm-size=16g), or use fewer workers (-j), or none (-j 0)"
        )
    if "DataLoader worker" in text:
        signal_name = re.search(r"killed by signal: (\w+)", text)
        how = f"was ended by a signal ({signal_name.group(1)})" if signal_name else "ended unexpectedly"
        return f"a data worker {how}; where memory ran out, the system did that (dmesg says so): use fewer workers (-j)"
    if isinstance(error, torch.OutOfMemoryError):
        return f"{text.split('. ')[0]}: the GPU's memory is too small; lower --batch_size or give --amp"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return None
