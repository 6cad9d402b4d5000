"""Signals that ask a training to stop: noted when they come, and obeyed by all processes after the same step."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing import resource_tracker
from types import FrameType
from typing import NoReturn

import torch
import torch.distributed as dist

from common.process import INTERRUPTED, REQUEUE, exit_at_once
from learning.distributed.process_group import environment_context, new_group

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

SECONDS_OF_ONE_PRESS = 2
"""One Ctrl-C reaches a process twice, from the terminal and from its launcher. Later than this, it is a second one."""


def exit_status(signal_number: int) -> int:
    """130 after Ctrl-C, as shells expect; after the other signals the status that asks a scheduler to requeue."""
    return INTERRUPTED if signal_number == signal.SIGINT else REQUEUE


def exit_on_signals() -> None:
    """Makes signals end this process at once, until a ``StopRequest`` replaces that: there is nothing to save yet."""

    def end(number: int, frame: FrameType | None) -> None:
        context = environment_context()
        if context is None or context.is_first:
            # os.write, since the signal may have interrupted a print.
            os.write(
                2, f"main_contrast.py: interrupted by {signal.Signals(number).name} before the first step\n".encode()
            )
        exit_at_once(exit_status(number))

    _start_resource_tracker()
    for number in SIGNALS:
        signal.signal(number, end)


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
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == self._received == signal.SIGINT and time.monotonic() - self._since > SECONDS_OF_ONE_PRESS:
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
