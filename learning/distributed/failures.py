"""How a rank of a training ends: with a sentence where the failure is, and an exit status."""

from __future__ import annotations

import re
import signal
import socket
import time
import traceback
from collections.abc import Callable

import torch
import torch.distributed as dist

from common import log
from common.errors import UserError
from common.process import (
    LOST_CONTACT,
    Stopped,
    exit_at_once,
    explain_system_error,
    note_signals,
    noted_signal,
    stop_status,
)
from learning.distributed.environment import context_for_messages
from learning.distributed.signals import exit_on_signals


def run_rank(work: Callable[[], None]) -> None:
    """Runs ``work`` as the whole work of this process. Returns only when it succeeds.

    Otherwise the process exits, with status 1 for a failure, which it explains, ``LOST_CONTACT`` after another
    process's failure, and after a signal 130 (Ctrl-C) or ``REQUEUE``.
    """
    try:
        exit_on_signals()
        work()
    except KeyboardInterrupt as interrupt:
        note_signals(True)  # nothing interrupts the end
        stop = interrupt if isinstance(interrupt, Stopped) else Stopped(signal.SIGINT)
        if context_for_messages().is_first:
            log.error(str(stop) if stop.when else f"{stop} before the first step")
        exit_at_once(stop_status(stop.number))
    except Exception as error:
        stopping = noted_signal()
        note_signals(True)
        context = context_for_messages()
        name = f"process {context.rank} on {socket.gethostname()}: " if context.world_size > 1 else ""
        if lost_contact(error):
            time.sleep(1)  # a launcher must find the process that has failed before those that only follow
            if context.local_rank == 0 and not stopping:
                log.error(f"{name}stopped, since another process has ended: " + str(error).split("\n")[0])
            exit_at_once(stop_status(stopping) if stopping else LOST_CONTACT)
        sentence = error.sentence if isinstance(error, UserError) else explain(error)
        if sentence is None:
            traceback.print_exc()
            sentence = f"{type(error).__name__}: {error}"
        log.error(name + sentence)
        exit_at_once(1)


def lost_contact(error: BaseException) -> bool:
    """Whether an error means that another process is gone: gloo's and NCCL's errors have no type in common."""
    text = str(error)
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo/" in text or "Gloo" in text or "NCCL" in text)
    )


def explain(error: BaseException) -> str | None:
    """A sentence with a remedy for an error that a person can fix, else None.

    Recognised by its text, since torch raises RuntimeError for all of them.
    """
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
        return f"a data worker {how}; if memory ran out, the system did that (see dmesg): use fewer workers (-j)"
    if isinstance(error, torch.OutOfMemoryError):
        return f"{text.split('. ')[0]}: the GPU's memory is too small; lower --batch_size or give --amp"
    return explain_system_error(error)
