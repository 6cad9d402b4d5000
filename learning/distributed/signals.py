"""Signals that ask a training to stop: noted when they come, and obeyed by all processes after the same step."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from typing import NoReturn

import torch
import torch.distributed as dist

from common import log
from common.process import INTERRUPTED, REQUEUE, SECONDS_OF_ONE_PRESS, SIGNALS, exit_at_once
from learning.distributed.environment import context_for_messages
from learning.distributed.process_group import new_group


def exit_status(signal_number: int) -> int:
    """130 after Ctrl-C, as shells expect; after the other signals the status that asks a scheduler to requeue."""
    return INTERRUPTED if signal_number == signal.SIGINT else REQUEUE


def exit_on_signals() -> None:
    """Makes signals end this process at once, until a ``StopRequest`` replaces that: there is nothing to save yet."""

    def end(number: int) -> None:
        if context_for_messages().is_first:
            log.error(f"interrupted by {signal.Signals(number).name} before the first step")
        exit_at_once(exit_status(number))

    _start_resource_tracker()
    _listen(end)


_receiver: Callable[[int], None] | None = None


def _listen(receiver: Callable[[int], None]) -> None:
    """Has ``receiver`` called with the number of each signal, in a thread of its own.

    A Python signal handler would have to wait until the main thread returns from torch's C++ code, which can be minutes
    when it waits for another process.
    """
    global _receiver
    if _receiver is None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=_receive, args=(reading,), name="signals", daemon=True).start()
    _receiver = receiver
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)  # the pipe is written to only if there is a handler


def _receive(reading: int) -> None:
    while numbers := os.read(reading, 1):
        if _receiver is not None and numbers[0] in SIGNALS:
            _receiver(numbers[0])


def stop_listening() -> None:
    """Undoes ``_listen`` but for the handlers, for a launcher that installs its own."""
    global _receiver
    _receiver = None
    signal.set_wakeup_fd(-1)


def _start_resource_tracker() -> None:
    """Starts Python's resource tracker such that it survives a signal sent to all processes, without warnings.

    It would start by itself later. It inherits which signals are ignored when it starts.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    resource_tracker.ensure_running()


class Stopped(Exception):
    """A signal asked the training to stop, and it has saved its state. Has the message and the exit status."""

    def __init__(self, signal_number: int, when: str):
        super().__init__(f"interrupted by {signal.Signals(signal_number).name} {when}")
        self.status = exit_status(signal_number)


class StopRequest:
    """Notes SIGTERM, SIGUSR1 and SIGINT from its construction on; a second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self._received = 0
        self._since = 0.0
        # A group of its own: with NCCL's, every check would wait for the GPU.
        self._group = new_group(backend="gloo") if dist.is_initialized() else None
        _listen(self._note)

    def _note(self, number: int) -> None:
        if number == self._received == signal.SIGINT and time.monotonic() - self._since > SECONDS_OF_ONE_PRESS:
            if context_for_messages().is_first:
                log.error("interrupted a second time: ends at once; the last checkpoint is kept")
            exit_at_once(exit_status(number))
        if not self._received:
            self._received, self._since = number, time.monotonic()

    def agreed(self) -> int:
        """The signal that any process has received, the same number in every process; 0 if there was none."""
        received = torch.tensor(self._received)
        if self._group is not None:
            dist.all_reduce(received, dist.ReduceOp.MAX, self._group)
        return int(received)

    def check(self) -> None:
        """Raises Stopped if this process has received a signal. For rank 0, while the other processes wait for it."""
        if self._received:
            raise Stopped(self._received, "before the first step")

    def check_all(self) -> None:
        """Raises Stopped in every process if any has received a signal."""
        if signal_number := self.agreed():
            self.obey(signal_number, "before the first step")

    def obey(self, signal_number: int, when: str) -> NoReturn:
        """Raises Stopped once all processes have arrived, so that no launcher ends rank 0 while it writes."""
        if self._group is not None:
            dist.barrier(self._group)
        raise Stopped(signal_number, when)
