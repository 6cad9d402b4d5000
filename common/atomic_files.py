"""Files that are written whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError

TEMPORARY = ".tmp"


@contextlib.contextmanager
def whole_file(path: str | os.PathLike, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; what was written there takes the name ``path`` when the block ends.

    With ``durable`` it is on the disk by then, also if the power fails; without, thousands of small files are fast.

    The folder is made if it is missing. If the block raises, or the disk is full, ``path`` stays as it was and
    nothing is left beside it. Raises UserError where the file cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The ending stays, since many writers choose the format by it.
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem[:100]}.", suffix=f"{TEMPORARY}{path.suffix}"
        )
        temporary = Path(name)
        os.fchmod(handle, 0o666 & ~_umask())
        os.close(handle)
        yield temporary
        if durable:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable(folder: str | os.PathLike) -> None:
    """Makes ``folder`` if it is missing; UserError where no file can be written into it."""
    probe = Path(folder) / f".writable.{os.getpid()}"
    with whole_file(probe, durable=False):
        pass
    probe.unlink(missing_ok=True)


def check_target(path: str | os.PathLike) -> None:
    """UserError where a file cannot be written at ``path``: long work is to end in it."""
    if Path(path).is_dir():
        raise UserError(f"{path} is a folder, and a file is to be written there")
    check_writable(Path(path).parent)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes what a process that was killed while it wrote has left in ``folder``."""
    for path in Path(folder).glob(f".*{TEMPORARY}.*"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
