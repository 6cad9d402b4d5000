"""Progress of a known number of things: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10


def on_terminal() -> bool:
    """Whether stdout and stderr are both a terminal, on which a bar can be drawn."""
    return sys.stderr.isatty() and sys.stdout.isatty()


class ProgressBar:
    """Counts up to ``total``, with rate and time left; shows nothing unless ``visible``."""

    def __init__(self, total: int, unit: str, visible: bool = True):
        self._total = total
        self._unit = unit
        self._visible = visible
        self._done = self._first = 0
        self._began = self._reported = time.monotonic()
        self._bar = tqdm(total=total, unit=unit, dynamic_ncols=True, disable=not (visible and on_terminal()))

    def add(self, n: int) -> None:
        n = min(n, self._total - self._done)
        if not self._done:  # the first take longer: their time is no guide to that of the rest
            self._first, self._began = n, time.monotonic()
        self._done += n
        self._bar.update(n)
        is_due = self._done > self._first and time.monotonic() - self._reported > SECONDS_BETWEEN_LINES
        if self._visible and self._bar.disable and is_due:
            self._reported = time.monotonic()
            rate = (self._done - self._first) / max(self._reported - self._began, 1e-9)
            left = tqdm.format_interval((self._total - self._done) / rate)
            shown = f"{rate:.1f}" if rate >= 0.1 else f"{rate:.2g}"
            print(
                f"{self._done:,d} of {self._total:,d} {self._unit}s, {shown} {self._unit}s/s, left {left}", flush=True
            )

    def close(self) -> None:
        self._bar.close()
