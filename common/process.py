"""How a process ends: the exit statuses, and the one place where scripts turn an exception into a status."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from common import log
from common.errors import UserError, is_out_of_memory

INTERRUPTED = 130
"""After Ctrl-C, as shells expect."""

REQUEUE = 75
"""EX_TEMPFAIL of sysexits.h, "try again later": after SIGTERM and SIGUSR1, the signals of a job scheduler."""

NOBODY_READS = 141
"""After the end of the program that reads stdout (``| head``): 128 and the number of SIGPIPE, as of other tools."""

LOST_CONTACT = 69
"""EX_UNAVAILABLE of sysexits.h: this process ended because another process of the job had ended."""


def exit_at_once(status: int) -> NoReturn:
    """Ends this process and its workers without Python's clean-up.

    Clean-up would print tracebacks of the workers, and could wait for a process that waits for this one.
    """
    workers = multiprocessing.active_children()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a full disk, or nobody who reads
            stream.flush()
    # Nothing that lets another thread run comes after this: in the main thread, torch reports a dead data worker as an
    # error.
    for worker in workers:
        worker.kill()
    os._exit(status)


def run_script(work: Callable[[], int | None], after_interrupt: str = "interrupted") -> NoReturn:
    """Runs a script's ``work`` and exits with the status that it returns (None: 0).

    A UserError, and an error of the operating system, is printed as its sentence, with status 1; after Ctrl-C
    ``after_interrupt`` is printed, with status 130. Any other exception is a mistake of ours and keeps its traceback.
    """
    try:
        _check_current_folder()
        status = work() or 0
    except UserError as error:
        _fail(error.sentence)
    except KeyboardInterrupt:
        log.error(after_interrupt)
        exit_at_once(INTERRUPTED)
    except BrokenPipeError:
        exit_at_once(NOBODY_READS)
    except Exception as error:
        sentence = explain_system_error(error)
        if sentence is None:
            raise
        _fail(sentence)
    sys.exit(status)


def _check_current_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        # Relative paths have no meaning, and libraries end the process in their own ways.
        raise UserError("the current folder has been deleted; change to another one (cd)") from None


def _fail(sentence: str) -> NoReturn:
    log.error(sentence)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.exit(1)
    exit_at_once(1)  # what is left for stdout cannot be written: Python's clean-up would try again


def explain_system_error(error: BaseException) -> str | None:
    """A sentence for an error of the operating system, which a person can fix, else None."""
    if is_out_of_memory(error):
        return "the memory is too small for this; close other programs, or use smaller images or fewer workers (-j)"
    if isinstance(error, OSError) and error.strerror:
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return f"{name}: {error.strerror}" if name else error.strerror
    return None
