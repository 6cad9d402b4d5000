"""How a rank of a training ends: a sentence instead of a traceback, an exit status, and the cause told to all ranks.

When a process fails, each of its peers only sees that a connection is lost. So the process that fails, or the launcher
that finds it dead, leaves the root cause in the store in which all have met, and the peers read it there.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import socket
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import torch
import torch.distributed as dist

from common import log
from common.errors import UserError
from common.process import LOST_CONTACT, exit_at_once, explain_system_error
from learning.distributed.environment import ProcessContext, attempt, context_for_messages
from learning.distributed.signals import Stopped

SECONDS_TO_HEAR = 5.0
"""How long a process waits for the root cause from another process."""

_CAUSE = "re-iqa cause"


def run_rank(work: Callable[[], None]) -> None:
    """Runs ``work`` as the whole work of this process. Returns only when it succeeds.

    Otherwise the process exits, with status 1 for a failure, ``LOST_CONTACT`` after another process's failure, and
    after a signal the status of ``Stopped``.
    """
    try:
        work()
    except Stopped as stopped:
        if context_for_messages().is_first:
            log.error(str(stopped))
        exit_at_once(stopped.status)
    except UserError as error:
        _fail(error.sentence)
    except Exception as error:
        if lost_contact(error):
            _follow(str(error).split("\n")[0])
        sentence = explain(error)
        if sentence is None:
            traceback.print_exc()
            sentence = f"{type(error).__name__}: {error}"
        _fail(sentence)


def _name(context: ProcessContext) -> str:
    return f"process {context.rank} on {socket.gethostname()}: "


def _fail(sentence: str) -> NoReturn:
    """Reports a failure of this process, here and to the other processes, and exits."""
    context = context_for_messages()
    message = (_name(context) if context.world_size > 1 else "") + sentence
    tell_cause(training_store(), message)
    log.error(message)
    exit_at_once(1)


def _follow(reason: str) -> NoReturn:
    """Exits because another process has ended, and reports the cause that the other process has told, if any."""
    # The launcher ends this process when it finds the other one dead. It then reports the failure itself.
    signal.signal(signal.SIGTERM, lambda *_: exit_at_once(LOST_CONTACT))
    time.sleep(1)  # the launcher must find the other process first
    cause = read_cause(training_store(), SECONDS_TO_HEAR)
    context = context_for_messages()
    if context.local_rank == 0:
        log.error(f"{_name(context)}stopped, since another process has ended: {cause or reason}")
    exit_at_once(LOST_CONTACT)


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


def training_store() -> dist.TCPStore | None:
    """A new connection to the store in which the processes have met; None if it is gone or never was."""
    if "MASTER_ADDR" not in os.environ:
        return None
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        timeout = datetime.timedelta(seconds=SECONDS_TO_HEAR)
        return dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timeout)
    except (RuntimeError, ValueError):
        return None


def _key() -> str:
    return f"{_CAUSE} {attempt()}"


def tell_cause(store: dist.Store | None, sentence: str) -> None:
    """Leaves the root cause for the other processes, unless another process has left one already."""
    with contextlib.suppress(RuntimeError):
        if store is not None:
            store.compare_set(_key(), "", sentence)


def read_cause(store: dist.Store | None, seconds: float) -> str | None:
    """The root cause that another process has left, waiting for it up to ``seconds``."""
    with contextlib.suppress(RuntimeError):
        until = time.monotonic() + seconds
        while store is not None and time.monotonic() < until:
            if store.check([_key()]):
                return store.get(_key()).decode()
            time.sleep(0.1)
    return None
