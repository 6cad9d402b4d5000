"""How a process ends: the exit statuses, and the one place where scripts turn an exception into a status."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from common.errors import UserError, is_out_of_memory

# Slow modules are imported in the functions: until run_script begins, Ctrl-C prints a traceback.

INTERRUPTED = 130
"""After Ctrl-C, as shells expect."""

REQUEUE = 75
"""EX_TEMPFAIL of sysexits.h, "try again later": after SIGTERM and SIGUSR1, the signals of a job scheduler."""

NOBODY_READS = 141
"""After the end of the program that reads stdout (``| head``): 128 and the number of SIGPIPE, as of other tools."""

TERMINATED = 143
"""After SIGTERM, where nothing is to be requeued: 128 and its number, as shells expect."""

LOST_CONTACT = 69
"""EX_UNAVAILABLE of sysexits.h: this process ended because another process of the job had ended."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C and the signals that schedulers send to all processes of a job. Windows has no SIGUSR1."""

SECONDS_OF_ONE_PRESS = 2
"""One Ctrl-C reaches a process twice, from the terminal and from its launcher. Later than this, it is a second one."""


class Terminated(BaseException):
    """SIGTERM has come. Like KeyboardInterrupt it is no Exception, so that only ``run_script`` handles it."""


def exit_at_once(status: int) -> NoReturn:
    """Ends this process and its workers without Python's clean-up.

    Clean-up would print tracebacks of the workers, and could wait for a process that waits for this one.
    """
    import multiprocessing

    workers = multiprocessing.active_children()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a full disk, or nobody who reads
            stream.flush()
    # Nothing that lets another thread run comes after this: in the main thread, torch reports a dead data worker as an
    # error.
    for worker in workers:
        worker.kill()
    os._exit(status)


def run_script(
    work: Callable[[], int | None],
    after_interrupt: str | Callable[[], str] = "interrupted",
    terminated: int = TERMINATED,
) -> NoReturn:
    """Runs a script's ``work`` and exits with the status that it returns (None: 0).

    A UserError, and an error of the operating system, is printed as its sentence, with status 1. After Ctrl-C
    ``after_interrupt`` (or what it returns) is printed, with status 130; after SIGTERM likewise, with ``terminated``:
    unfinished files are removed first. Any other exception is a mistake of ours and keeps its traceback.
    """
    try:
        _answer_signals()
        _check_current_folder()
        status = work() or 0
    except UserError as error:
        _fail(error.sentence)
    except (KeyboardInterrupt, Terminated) as stop:
        _set_handlers(signal.SIG_IGN)
        _say(after_interrupt if isinstance(after_interrupt, str) else after_interrupt())
        exit_at_once(terminated if isinstance(stop, Terminated) else INTERRUPTED)
    except BrokenPipeError:
        exit_at_once(NOBODY_READS)
    except Exception as error:
        sentence = explain_system_error(error)
        if sentence is None:
            raise
        _fail(sentence)
    _set_handlers(signal.SIG_DFL)  # while Python cleans up, an exception would be printed with its traceback
    sys.exit(status)


_NEVER = -float("inf")
_last_raised = _NEVER


def _raise_stop(number: int, frame: FrameType | None) -> None:
    """The handler of SIGINT and SIGTERM. A second signal at once does not interrupt the clean-up after the first."""
    global _last_raised
    now = time.monotonic()
    if now - _last_raised < SECONDS_OF_ONE_PRESS:
        return
    _last_raised = now
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _answer_signals() -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread receives signals
    signal.signal(signal.SIGTERM, _raise_stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored (nohup, &)
        signal.signal(signal.SIGINT, _raise_stop)
    print_unraisable = sys.unraisablehook

    def send_again(unraisable: sys.UnraisableHookArgs) -> None:
        """Python prints and drops an exception that is raised while it deletes an object, a signal's included."""
        if not issubclass(unraisable.exc_type, (KeyboardInterrupt, Terminated)):
            print_unraisable(unraisable)
            return
        global _last_raised
        _last_raised = _NEVER
        number = signal.SIGINT if issubclass(unraisable.exc_type, KeyboardInterrupt) else signal.SIGTERM
        again = threading.Timer(0.01, _signal_main_thread, [number])  # not at once: it would be dropped again
        again.daemon = True
        again.start()

    sys.unraisablehook = send_again


def _signal_main_thread(number: int) -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)


def _set_handlers(handler: signal.Handlers) -> None:
    """Replaces ``_raise_stop`` by ``handler``; other handlers are kept."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is _raise_stop:
            signal.signal(number, handler)


def _say(sentence: str) -> None:
    from common import log

    log.error(sentence)


def _check_current_folder() -> None:
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        # Relative paths have no meaning, and libraries end the process in their own ways.
        raise UserError("the current folder has been deleted; change to another one (cd)") from None


def _fail(sentence: str) -> NoReturn:
    _set_handlers(signal.SIG_DFL)
    _say(sentence)
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
