"""One logger for every script and every process.

Results and progress go to stdout as plain lines; warnings and errors go to stderr with the script's name in front.
Lines are written through tqdm, so that they do not break a progress bar. In a job of several processes each line is
printed once: ranks other than 0 are quiet unless they say something that only they know (``error``).

A line on stdout that cannot be written is an error, since it may be a result; one on stderr is lost.

A line may hold a user's file names, and these may hold control characters. They are written as escapes (``\\x1b``,
``\\n``): a terminal would obey them, and a newline could pass for a line of ours.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import unicodedata
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from networks.errors import UserError

_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Unicode's categories of control characters, lone surrogates (bytes in a name), line and paragraph separators."""


# The parent may have closed stdout or stderr (``2>&-``). The next file that is opened would get its number, and the
# messages of C libraries.
while (number := os.open(os.devnull, os.O_RDWR)) < 3:
    pass
os.close(number)
sys.stdout, sys.stderr = (one or open(os.devnull, "w") for one in (sys.stdout, sys.stderr))  # noqa: SIM115

# tqdm would make its lock at the first line, and has none if a signal interrupts that.
tqdm.set_lock(threading.RLock())

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silences ``info`` and ``warning`` in this process: another process of the job prints the same."""
    global _quiet
    _quiet = quiet


def info(text: str) -> None:
    """A line of result or progress, on stdout; newlines at its beginning are empty lines before it.

    Raises UserError where it cannot be written, as on a full disk, and BrokenPipeError where nobody reads it any more.
    """
    if _quiet:
        return
    line = text.lstrip("\n")
    try:
        _write("\n" * (len(text) - len(line)) + printable(line), sys.stdout)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"the standard output cannot be written: {error.strerror}") from error


def warning(text: str) -> None:
    """A line on stderr about something that was decided or left out, after which the work continues."""
    if not _quiet:
        error(f"warning: {text}")


def error(text: str) -> None:
    """A line on stderr about a failure that this process knows of; it is printed on every rank."""
    module = getattr(sys.modules["__main__"], "__spec__", None)  # of ``python -m MODULE``
    script = module.name.removesuffix(".__main__") if module else Path(sys.argv[0]).name or "python"
    with contextlib.suppress(OSError):
        _write(printable(f"{script}: {text}"), sys.stderr)


def printable(text: str) -> str:
    """``text`` with escapes for the characters that a terminal would obey, and for bytes that are no characters."""
    if text.isprintable():
        return text
    return "".join(ascii(one)[1:-1] if unicodedata.category(one) in _UNPRINTABLE else one for one in text)


def _write(text: str, stream: TextIO) -> None:
    """Writes a line; characters that the stream cannot hold (another encoding) as escapes."""
    encoding = stream.encoding or "utf-8"
    tqdm.write(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
    stream.flush()
