"""Files that are written completely or not at all."""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from networks.errors import UserError

TEMPORARY = ".tmp"

_unfinished: set[Path] = set()


def remove_unfinished() -> None:
    """Removes the temporary files of this process, which ends after a signal.

    Python can answer a signal at the very beginning or end of a ``with`` block, and then leaves out its clean-up.
    """
    for temporary in _unfinished:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def whole_file(path: str | os.PathLike, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; the file written there is renamed to ``path`` when the block ends.

    With ``durable`` the file survives a power failure from then on; without, thousands of small files are fast.

    A link is followed. A device or pipe (``/dev/stdout``, ``/dev/null``) is written to, when the block ends, and stays
    what it is. A missing folder is made. If the block raises, or the disk is full, ``path`` is kept as it was and
    nothing is left beside it. Raises UserError where the file cannot be written.
    """
    path = Path(path)
    device = is_device(path)
    if path.is_symlink() and not device:
        path = Path(os.path.realpath(path))
    # The ending is kept, since many writers choose the format by it; the rest is short, since ``path`` may be long.
    name = f".{cut_name(path.stem, 40)}.{secrets.token_hex(8)}{TEMPORARY}{path.suffix}"
    temporary = Path(tempfile.gettempdir() if device else path.parent, name)
    try:
        if not device:
            path.parent.mkdir(parents=True, exist_ok=True)
        _unfinished.add(temporary)
        temporary.touch(exist_ok=False)  # tempfile tells the name too late, where a signal comes in between
        yield temporary
        if device:
            with open(temporary, "rb") as written, open(path, "wb") as output:
                shutil.copyfileobj(written, output)
            return
        if durable:
            with open(temporary, "r+b") as written:  # Windows synchronises only what is open for writing
                os.fsync(written.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # after writing: safetensors replaces the file by one for its owner alone
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {_reason(error)}") from error
    except SafetensorError as error:
        reason = re.search(r"I/O error: (.*?) \(os error", str(error))  # safetensors has no error of the system's type
        raise UserError(f"{path} cannot be written: {reason.group(1) if reason else error}") from error
    finally:
        with contextlib.suppress(OSError):  # it has been renamed, or its folder cannot be used
            temporary.unlink()
        _unfinished.discard(temporary)


def _reason(error: OSError) -> str:
    """What the system says, with the name of the file if it is not the temporary one."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else TEMPORARY
    # A copy's error has two names, and does not tell which of both files failed.
    return (error.strerror or str(error)) + f" ({name})" * (TEMPORARY not in name and error.filename2 is None)


def is_device(path: Path) -> bool:
    """Whether ``path`` is a device, a pipe or an open file of a process, in whose place no file may be put."""
    if path.absolute().parts[1:2] in (("dev",), ("proc",)) and path.absolute().parts[1:3] != ("dev", "shm"):
        return path.exists()
    return path.exists() and not path.is_file() and not path.is_dir()


def cut_name(name: str, n_bytes: int) -> str:
    """The beginning of a file's name, of at most ``n_bytes`` bytes on disk, without half a character of UTF-8."""
    return os.fsdecode(os.fsencode(name)[:n_bytes].decode(errors="ignore").encode())


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
    if not is_device(Path(path)):
        check_writable(Path(os.path.realpath(path)).parent)


def check_not_read(option: str, path: str | os.PathLike, sources: Iterable[str | os.PathLike]) -> None:
    """UserError if ``path``, which ``option`` names for writing, is one of the files that are read."""
    if not os.path.exists(path):  # noqa: PTH110
        return
    for source in sources:
        if os.path.exists(source) and os.path.samefile(path, source):  # noqa: PTH110, PTH121
            raise UserError(f"{option} {path} is the file {source}, which is read; name another file")


def check_outside(option: str, folder: str | os.PathLike, sources: Iterable[str | os.PathLike]) -> None:
    """UserError if ``folder``, for pictures, is one of the ``sources`` or below one: the next run would read them."""
    for source in map(Path, sources):
        if source.is_dir() and Path(folder).resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"{option} {folder} is in {source}, where its images would be photographs of the next run; name a "
                "folder elsewhere"
            )


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes the temporary files that killed processes have left in ``folder``."""
    for path in Path(folder).glob(f".*{TEMPORARY}.*"):
        path.unlink(missing_ok=True)
