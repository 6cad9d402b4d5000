"""How a process ends: the exit statuses, and the one place where scripts turn an exception into a status."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from common import log
from common.errors import UserError

INTERRUPTED = 130
"""After Ctrl-C, as shells expect."""

REQUEUE = 75
"""EX_TEMPFAIL of sysexits.h, "try again later": after SIGTERM and SIGUSR1, the signals of a job scheduler."""

LOST_CONTACT = 69
"""EX_UNAVAILABLE of sysexits.h: this process ended because another process of the job had ended."""


def exit_at_once(status: int) -> NoReturn:
    """Ends this process and its workers without Python's clean-up.

    Clean-up would print tracebacks of the workers, and could wait for a process that waits for this one.
    """
    workers = multiprocessing.active_children()
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing that lets another thread run comes after this: in the main thread, torch reports a dead data worker as an
    # error.
    for worker in workers:
        worker.kill()
    os._exit(status)


def run_script(work: Callable[[], int | None], after_interrupt: str = "interrupted") -> NoReturn:
    """Runs a script's ``work`` and exits with the status that it returns (None: 0).

    A UserError is printed as its sentence, with status 1; after Ctrl-C ``after_interrupt`` is printed, with status 130.
    Any other exception is a mistake of ours and keeps its traceback.
    """
    try:
        status = work() or 0
    except UserError as error:
        log.error(error.sentence)
        status = 1
    except KeyboardInterrupt:
        log.error(after_interrupt)
        exit_at_once(INTERRUPTED)
    sys.exit(status)
