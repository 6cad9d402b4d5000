"""One logger for every script and every process.

Results and progress go to stdout as plain lines; warnings and errors go to stderr with the script's name in front.
Lines are written through tqdm, so that they do not break a progress bar. In a job of several processes each line is
printed once: ranks other than 0 are quiet unless they say something that only they know (``error``).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm


@dataclass(frozen=True)
class _Speaker:
    """Which script this process belongs to, and whether it prints what concerns the whole job."""

    script: str
    quiet: bool


_speaker = _Speaker(script=Path(sys.argv[0]).name or "python", quiet=False)


def set_script(name: str) -> None:
    """Names the script in warnings and errors; until this is called, the name is that of ``sys.argv[0]``."""
    global _speaker
    _speaker = replace(_speaker, script=name)


def set_quiet(quiet: bool) -> None:
    """Silences ``info`` and ``warning`` in this process: another process of the job prints the same."""
    global _speaker
    _speaker = replace(_speaker, quiet=quiet)


def info(text: str) -> None:
    """A line of result or progress, on stdout."""
    if not _speaker.quiet:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def warning(text: str) -> None:
    """A line on stderr about something that was decided or left out, after which the work continues."""
    if not _speaker.quiet:
        _to_stderr(f"{_speaker.script}: warning: {text}")


def error(text: str) -> None:
    """A line on stderr about a failure that this process knows of; it is printed on every rank."""
    _to_stderr(f"{_speaker.script}: {text}")


def _to_stderr(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()
