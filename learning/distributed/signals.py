"""Signals that ask a training to stop: noted when they come, and obeyed by all processes after the same step."""

from __future__ import annotations

import os
from multiprocessing import resource_tracker
from typing import NoReturn

import torch
import torch.distributed as dist

from common.process import HANGUP, Stopped, answer_signals, note_signals, noted_signal, signals_delayed
from learning.distributed.process_group import new_group


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
        # A group of its own: with NCCL's, every check would wait for the GPU.
        self._group = new_group(backend="gloo") if dist.is_initialized() else None
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

    def check_all(self) -> None:
        """Raises Stopped in every process if any has received a signal."""
        if number := self.agreed():
            self.obey(number)

    def obey(self, number: int, when: str = "") -> NoReturn:
        """Raises Stopped once all processes have arrived, so that no launcher ends rank 0 while it writes."""
        if self._group is not None:
            dist.barrier(self._group)
        raise Stopped(number, when)
