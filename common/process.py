"""How a process ends, by signals and exceptions, and how the workers that it starts differ from it.

One handler answers all signals. It raises ``Stopped`` in the main thread, as Python raises KeyboardInterrupt for
Ctrl-C, so that unfinished files are removed on the way out. Where signals are only noted (``note_signals``), as in a
training, which asks for them after each step, and while processes start, it keeps the number for ``noted_signal``.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from networks.errors import UserError, is_out_of_memory

INTERRUPTED = 130
"""After Ctrl-C, as shells expect."""

REQUEUE = 75
"""EX_TEMPFAIL of sysexits.h, "try again later": after any other of the ``SIGNALS``, where a scheduler may requeue."""

NOBODY_READS = 141
"""After the end of the program that reads stdout (``| head``): 128 and the number of SIGPIPE, as of other tools."""

TERMINATED = 143
"""After any signal but Ctrl-C, where nothing is to be requeued: 128 and the number of SIGTERM, as shells expect."""

LOST_CONTACT = 69
"""EX_UNAVAILABLE of sysexits.h: this process ended because another process of the job had ended."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, the signals that schedulers send to all processes of a job, and the one of a terminal that closes."""

HANGUP = getattr(signal, "SIGHUP", None)
"""The signal of a terminal that closes. Windows has none."""

SECONDS_OF_ONE_PRESS = 2
"""One Ctrl-C reaches a process twice, from the terminal and from its launcher. Later than this, it is a second one."""


PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 << 20


class Stopped(KeyboardInterrupt):
    """A signal asks this process to stop. No Exception, so that only ``run_script`` and ``run_rank`` handle it."""

    def __init__(self, number: int, when: str = ""):
        super().__init__(f"interrupted by {signal.Signals(number).name} {when}".strip())
        self.number = number
        self.when = when


_NEVER = -float("inf")
_only_noted = False
_noted = 0
_answered_at = _NEVER


def answer_signals(keep_ignored: tuple[int | None, ...] = (signal.SIGINT, HANGUP)) -> None:
    """Installs the handler of the ``SIGNALS`` in this process.

    Signals of ``keep_ignored`` stay ignored where they are: by nohup (SIGHUP), or by a shell's ``&`` (SIGINT).
    """
    global _only_noted, _noted, _answered_at
    _only_noted, _noted, _answered_at = False, 0, _NEVER  # a forked process has its parent's
    if threading.current_thread() is threading.main_thread():  # no other thread receives signals
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN or number not in keep_ignored:
                signal.signal(number, _answer)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # ``signals_delayed`` blocks them in a new process
    print_unraisable = sys.unraisablehook

    def send_again(unraisable: sys.UnraisableHookArgs) -> None:
        """Python prints and drops an exception that is raised while it deletes an object, a signal's included."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            print_unraisable(unraisable)
            return
        number = getattr(unraisable.exc_value, "number", signal.SIGINT)
        again = threading.Timer(0.1, _send_to_main_thread, [number])  # not at once: it would be dropped again
        again.daemon = True
        again.start()

    sys.unraisablehook = send_again


def note_signals(only: bool) -> bool:
    """With ``only``, signals are noted from now on, not answered. Without, they are answered, a noted one at once.

    Returns the former setting. A second Ctrl-C is answered even while signals are only noted.
    """
    global _only_noted, _noted
    before, _only_noted = _only_noted, only
    if _noted and not only:
        number, _noted = _noted, 0
        _send_to_main_thread(number)
    return before


def noted_signal() -> int:
    """The number of the first signal that was only noted; 0 if there was none."""
    return _noted


def stop_status(number: int, otherwise: int = REQUEUE) -> int:
    """The exit status after a signal."""
    return INTERRUPTED if number == signal.SIGINT else otherwise


def _answer(number: int, frame: FrameType | None) -> None:
    """The handler. A second signal at once is the same press, and does not interrupt the clean-up after the first."""
    global _noted, _answered_at
    if number == HANGUP:
        _leave_terminal()
    now = time.monotonic()
    if now - _answered_at < SECONDS_OF_ONE_PRESS:
        return
    _answered_at = now
    if not _only_noted:
        raise Stopped(number)
    if _noted == number == signal.SIGINT:
        raise Stopped(number, "a second time: ends at once; the last checkpoint is kept")
    _noted = _noted or number


def _leave_terminal() -> None:
    """Has nothing printed any more on a terminal that has closed, where it would be an error."""
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _send_to_main_thread(number: int) -> None:
    global _answered_at
    _answered_at = _NEVER
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)  # interrupts also what the main thread waits for
    else:
        signal.raise_signal(number)


def run_script(
    work: Callable[[], int | None], after_interrupt: str = "interrupted", terminated: int = TERMINATED
) -> NoReturn:
    """Runs a script's ``work`` and exits with the status that it returns (None: 0).

    A UserError, and an error of the operating system, is printed as its sentence, with status 1. After Ctrl-C
    ``after_interrupt`` is printed, with status 130; after the other signals likewise, with ``terminated``. Unfinished
    files are removed first. Another exception is a mistake of ours: it keeps its traceback.
    """
    # Before torch is imported: its threads wait for work by spinning, which on a busy machine takes the cores from
    # those that have work. A few microseconds of it are faster on a quiet machine, and cost nothing on a busy one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    answer_signals()
    from common import log  # not earlier, since it is slow: until signals are answered, Ctrl-C prints a traceback

    try:
        try:
            os.getcwd()  # noqa: PTH109
        except FileNotFoundError:
            # Relative paths have no meaning, and libraries end the process in their own ways.
            raise UserError("the current folder has been deleted; change to another one (cd)") from None
        status = work() or 0
    except KeyboardInterrupt as stop:
        note_signals(True)  # nothing interrupts the end
        log.error(str(stop) if getattr(stop, "when", "") else after_interrupt)
        exit_at_once(stop_status(getattr(stop, "number", signal.SIGINT), otherwise=terminated))
    except BrokenPipeError:
        exit_at_once(NOBODY_READS)
    except Exception as error:
        sentence = error.sentence if isinstance(error, UserError) else explain_system_error(error)
        if sentence is None:
            raise
        note_signals(True)
        log.error(sentence)
        try:
            sys.stdout.flush()
        except OSError:  # what is left for stdout cannot be written: Python's clean-up would try again
            exit_at_once(1)
        status = 1
    finally:
        atexit.register(_end_on_signals)
        atexit.register(gc.freeze)  # or Python looks for garbage before it ends: half a second where torch is imported
    sys.exit(status)


def _end_on_signals() -> None:
    """Has signals end a process that ends: while Python cleans up, an exception would be printed with its traceback."""
    for number in SIGNALS:
        if signal.getsignal(number) is _answer:
            signal.signal(number, signal.SIG_DFL)


def exit_at_once(status: int) -> NoReturn:
    """Ends this process and its workers without Python's clean-up; unfinished files are removed.

    Clean-up would print tracebacks of the workers, and could wait for a process that waits for this one.
    """
    import multiprocessing

    from common.atomic_files import remove_unfinished

    remove_unfinished()
    workers = multiprocessing.active_children()
    sys.setswitchinterval(0.2)  # on a busy machine, the default of 5 ms can pass between two lines
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a full disk, or nobody who reads
            stream.flush()
    # Nothing that lets another thread run comes after this: in the main thread, torch reports a dead data worker as an
    # error.
    for worker in workers:
        worker.kill()
    os._exit(status)


def explain_system_error(error: BaseException) -> str | None:
    """A sentence for an error of the operating system, which a person can fix, else None."""
    if is_out_of_memory(error):
        return "the memory is too small for this; close other programs, or use smaller images or fewer workers (-j)"
    if isinstance(error, OSError) and error.strerror:
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return f"{name}: {error.strerror}" if name else error.strerror
    return None


@contextlib.contextmanager
def signals_delayed() -> Iterator[None]:
    """Delays ``SIGNALS`` in the block, in which processes are started.

    A new process would answer a signal as its parent does. A forked one only notes it, as its parent does in the block;
    one that is started anew inherits that they are blocked, until it answers or ignores them.
    """
    if sys.platform == "win32":
        yield
        return
    noted = note_signals(True)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        note_signals(noted)


def use_one_core() -> None:
    """Limits this process to one core: no threads of its own, and memory kept for the next sample.

    A sample needs hundreds of arrays of a megabyte. glibc's allocator would return them to the system, and mapping and
    clearing their pages again and again costs a sixth of a sample's time.
    """
    import cv2  # here, since most scripts start without them
    import torch

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    mallopt = _c_function("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def _c_function(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has none of that name, as on macOS and Windows."""
    return None if sys.platform == "win32" else getattr(ctypes.CDLL(None), name, None)


def worker_starter() -> Callable[..., None]:
    """Prepares workers of the calling process: ``worker_init_fn`` of a data loader, ``initializer`` of a pool."""
    return functools.partial(_start_worker, os.getpid())


def _start_worker(parent: int, worker: int = 0) -> None:
    """Settings of a worker, which leaves signals to ``parent``, and is killed by the kernel (Linux) when it ends."""
    prctl = _c_function("prctl")
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform != "win32" and os.getppid() != parent:
        os._exit(1)
    use_one_core()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
