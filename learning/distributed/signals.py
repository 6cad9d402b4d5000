"""Being asked to stop: a signal is noted when it comes, and obeyed by all processes after the same step."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing import resource_tracker
from types import FrameType

import torch
import torch.distributed as dist

from common.process import INTERRUPTED, REQUEUE, exit_at_once
from learning.distributed.process_group import COLLECTIVE_TIMEOUT, environment_context

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

SECONDS_OF_ONE_PRESS = 2
"""A launcher passes Ctrl-C on to processes that the terminal has told already; later than that, it is a second one."""


def exit_status(signal_number: int) -> int:
    """130, as shells expect, after Ctrl-C; else that which asks a launcher to start the training again."""
    return INTERRUPTED if signal_number == signal.SIGINT else REQUEUE


def exit_on_signals() -> None:
    """Until the processes have joined there is nothing to finish, and nobody to agree with."""

    def end(number: int, frame: FrameType | None) -> None:
        context = environment_context()
        if context is None or context.is_first:
            # Not by print, which may be what the signal has interrupted.
            os.write(
                2, f"main_contrast.py: interrupted by {signal.Signals(number).name} before the first step\n".encode()
            )
        exit_at_once(exit_status(number))

    _start_resource_tracker()
    for number in SIGNALS:
        signal.signal(number, end)


def _start_resource_tracker() -> None:
    """Starts a helper process of Python's so that it outlives a signal to all, and does not warn of what is then left.

    It would start by itself later, and takes over what is ignored when it starts.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    resource_tracker.ensure_running()


class Stopped(Exception):
    """The training was asked to stop by a signal, and has saved what it had done; what to say, and the exit status."""

    def __init__(self, signal_number: int, what: str):
        super().__init__(f"interrupted by {signal.Signals(signal_number).name} {what}")
        self.status = exit_status(signal_number)


class StopRequest:
    """Notes SIGTERM, SIGUSR1 and SIGINT from its making on; a second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self._received = 0
        self._since = 0.0
        # Apart from the training's own group, which on GPUs would have to wait for them.
        self._group = dist.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT) if dist.is_initialized() else None
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == self._received == signal.SIGINT and time.monotonic() - self._since > SECONDS_OF_ONE_PRESS:
            exit_at_once(exit_status(number))
        if not self._received:
            self._received, self._since = number, time.monotonic()

    def agreed(self) -> int:
        """The signal that any process has received, the same in every process; 0 where there was none."""
        received = torch.tensor(self._received)
        if self._group is not None:
            dist.all_reduce(received, dist.ReduceOp.MAX, self._group)
        return int(received)

    def check(self) -> None:
        """Raises Stopped where a signal has come to this process, which the others are waiting for."""
        if self._received:
            raise Stopped(self._received, "before the first step")

    def obey(self, signal_number: int, what: str) -> None:
        """Raises Stopped when all processes are here, so that no launcher ends the first one while it writes."""
        if self._group is not None:
            dist.barrier(self._group)
        raise Stopped(signal_number, what)
