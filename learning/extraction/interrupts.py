"""Ctrl-C and SIGTERM during long work."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from common.process import forget_last_signal


@contextlib.contextmanager
def noted_interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C and SIGTERM raise their exceptions as usual, and again when the function that is yielded is called.

    Python loses an exception that is raised while it deletes an object, and a long run will have such a moment.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    noted: list[tuple[int, FrameType | None]] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append((number, frame))
        handle(number, frame)

    def handle(number: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    def check() -> None:
        for number, frame in noted:
            forget_last_signal()
            handle(number, frame)

    # Only the main thread receives signals; a signal that ends the process, or is ignored, raises no exception.
    handled = [number for number, handler in handlers.items() if callable(handler)]
    if threading.current_thread() is not threading.main_thread():
        handled = []
    for number in handled:
        signal.signal(number, note)
    try:
        yield check
    finally:
        for number in handled:
            signal.signal(number, handlers[number])
