"""How a rank of a training ends: on a signal after the same step as all, on a failure with a sentence where it happens.

The exit status is 1 for a failure, ``LOST_CONTACT`` after another process's failure, and after a signal 130 (Ctrl-C)
or ``REQUEUE``.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing import resource_tracker

import torch
import torch.distributed as dist

from common import log
from common.process import (
    HANGUP,
    LOST_CONTACT,
    Stopped,
    answer_signals,
    exit_at_once,
    explain_system_error,
    note_signals,
    noted_signal,
    signals_delayed,
    stop_status,
)
from learning.distributed.environment import Membership, ProcessContext
from learning.distributed.process_group import COLLECTIVE_TIMEOUT
from networks.errors import UserError
from options.contrast import ContrastOptions

Train = Callable[[ContrastOptions, str, Membership | None], None]
"""A training by its options, over a backend, as a member of a job."""

OWN_ERROR = re.compile(
    "ncclUnhandledCudaError|ncclInvalid|ncclInternalError|shared memory|No space left|[Uu]nable to (find|resolve)"
)
"""What NCCL and gloo say where the fault is with this process or its machine."""


def exit_on_signals() -> None:
    """Makes signals raise Stopped in this process, until a ``StopRequest`` only notes them: nothing is to be saved yet.

    Starts Python's resource tracker such that it survives a signal to all processes, and ends without warnings.
    """
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    answer_signals(keep_ignored=(HANGUP,))  # a script's ``main_contrast.py &`` can be stopped by SIGINT
    with signals_delayed():
        resource_tracker.ensure_running()


class StopRequest:
    """Has signals only noted from its construction on. A second Ctrl-C still raises Stopped at once."""

    def __init__(self) -> None:
        self._group: dist.ProcessGroup | None = None
        if dist.is_initialized():
            # A group of its own, of all processes: with NCCL's, every check would wait for the GPU.
            self._group, _ = dist.new_subgroups(dist.get_world_size(), timeout=COLLECTIVE_TIMEOUT, backend="gloo")
        note_signals(True)

    def agreed(self) -> int:
        """The signal that any process has received, the same number in every process; 0 if there was none."""
        received = torch.tensor(noted_signal())
        if self._group is not None:
            dist.all_reduce(received, dist.ReduceOp.MAX, self._group)
        return int(received)

    def check(self) -> None:
        """Raises Stopped if this process has received a signal. For rank 0, while the other processes wait for it."""
        if number := noted_signal():
            raise Stopped(number)

    def obey(self, number: int, when: str = "") -> None:
        """Raises Stopped for a signal, once all processes have arrived: no launcher ends rank 0 while it writes."""
        if not number:
            return
        if self._group is not None:
            dist.barrier(self._group)
        raise Stopped(number, when)


def run_rank(train: Train, options: ContrastOptions, backend: str, member: Membership | None) -> None:
    """Runs ``train`` as the whole work of this process. Returns only when it succeeds; else the process exits."""
    context = member.context if member else ProcessContext()
    log.set_quiet(context.local_rank != 0)  # each node reports which processes it waits for
    try:
        exit_on_signals()
        train(options, backend, member)
    except KeyboardInterrupt as interrupt:
        note_signals(True)  # nothing interrupts the end
        stop = interrupt if isinstance(interrupt, Stopped) else Stopped(signal.SIGINT)
        if context.is_first:
            log.error(str(stop) if stop.when else f"{stop} before the first step")
        exit_at_once(stop_status(stop.number))
    except Exception as error:
        stopping = noted_signal()
        note_signals(True)
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
    """Whether an error means that another process is gone: gloo's and NCCL's errors have no type in common.

    An error of this process's own may have the same types: only its text tells.
    """
    text = str(error)
    return (
        not OWN_ERROR.search(text)
        and isinstance(error, RuntimeError)
        and (isinstance(error, dist.DistError) or "gloo/" in text or "Gloo" in text or "NCCL" in text)
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
