"""Why a training has ended, told to the other processes: each sees its neighbours vanish, and not which was first.

Whoever knows the cause, the process that fails or the launcher that finds it dead, leaves it in the store in which all
have met; who only lost contact reads it there.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import time

import torch.distributed as dist

SECONDS_TO_HEAR = 5.0

_CAUSE = "re-iqa cause"


def training_store() -> dist.TCPStore | None:
    """A connection of its own to the store in which the processes have met; None where there is none any more."""
    if "MASTER_ADDR" not in os.environ:
        return None
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        patience = datetime.timedelta(seconds=SECONDS_TO_HEAR)
        return dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=patience)
    except (RuntimeError, ValueError):
        return None


def _key() -> str:
    # torchrun's store outlives its restarts.
    return f"{_CAUSE} {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"


def tell_cause(store: dist.TCPStore | None, sentence: str) -> None:
    """Leaves the cause for the others, unless there is one already: the first one counts."""
    with contextlib.suppress(RuntimeError):
        if store is not None:
            store.compare_set(_key(), "", sentence)


def read_cause(store: dist.TCPStore | None, seconds: float) -> str | None:
    """The cause that another has left, if one does within ``seconds``."""
    with contextlib.suppress(RuntimeError):
        until = time.monotonic() + seconds
        while store is not None and time.monotonic() < until:
            if store.check([_key()]):
                return store.get(_key()).decode()
            time.sleep(0.1)
    return None
