"""Files that are written completely or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError

TEMPORARY = ".tmp"


@contextlib.contextmanager
def whole_file(path: str | os.PathLike, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; the file written there is renamed to ``path`` when the block ends.

    With ``durable`` the file survives a power failure from then on; without, thousands of small files are fast.

    A missing folder is made. If the block raises, or the disk is full, ``path`` is kept as it was and nothing is left
    beside it. Raises UserError where the file cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The ending is kept, since many writers choose the format by it; the rest is short, since ``path`` may be long.
        beginning = os.fsencode(path.stem)[:40].decode(errors="ignore")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{beginning}.", suffix=f"{TEMPORARY}{path.suffix}")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # afterwards: safetensors makes a new file, for its owner alone
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
    """Makes ``folder`` if it is missing; UserError, which names it, where no file can be written into it."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=os.fspath(folder), prefix=".writable."):
            pass
    except OSError as error:
        raise UserError(f"folder {folder} cannot be written to: {error.strerror or error}") from error


def check_target(path: str | os.PathLike) -> None:
    """UserError where a file cannot be written at ``path``: to be called before long work whose result it holds."""
    if Path(path).is_dir():
        raise UserError(f"{path} is a folder, and a file is to be written there")
    try:
        check_writable(Path(path).parent)
    except UserError as error:
        raise UserError(f"{path} cannot be written: {getattr(error.__cause__, 'strerror', None) or error}") from None


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes the temporary files that killed processes have left in ``folder``."""
    for path in Path(folder).glob(f".*{TEMPORARY}.*"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
