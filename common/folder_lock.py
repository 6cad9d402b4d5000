"""One process at a time in a folder."""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from common.errors import UserError

LOCK = ".lock"

PATIENCE = 10
"""Seconds in which a process of this machine that was killed is gone, with its locks."""

PATIENCE_WITH_OTHERS = 120
"""Seconds after which a file server has forgotten the locks of a machine that fell silent."""

NAMELESS = "another process"

TAKEN = (errno.EACCES, errno.EAGAIN)
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def hold(folder: str | os.PathLike, while_waiting: Callable[[], object] = lambda: None) -> BinaryIO:
    """Makes ``folder`` if it is missing and takes it for this process, until what is returned is closed or it ends.

    Where another process has it, waits a little, and calls ``while_waiting`` meanwhile, which may raise. Raises
    UserError, with the other's number and machine, if that one keeps it. A file system that has no locks keeps nobody
    out, and no process keeps itself out.
    """
    path = Path(folder, LOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b", buffering=0)  # noqa: SIM115  (to be closed by the caller)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    try:
        _wait(file, folder, while_waiting)
    except BaseException:
        file.close()
        raise
    with contextlib.suppress(OSError):  # only its owner can, and need
        os.fchmod(file.fileno(), 0o666)  # other users of the folder are to lock it as well
    name = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
    with contextlib.suppress(OSError):  # the lock is what counts, also on a full disk
        file.truncate(0)
        file.write(name.encode())
    return file


def _wait(file: BinaryIO, folder: str | os.PathLike, while_waiting: Callable[[], object]) -> None:
    asked = time.monotonic()
    said = False
    while not _take(file):
        while_waiting()
        time.sleep(0.1)
        file.seek(0)
        holder = file.read().decode(errors="replace").strip() or NAMELESS
        here = holder == NAMELESS or f" on {socket.gethostname()}, " in holder
        patience = PATIENCE if here else PATIENCE_WITH_OTHERS
        if time.monotonic() - asked > patience:
            raise UserError(f"{folder} is taken by {holder}; wait for its end, or stop it, or take another folder")
        if not said:
            print(f"waiting up to {patience} s for {folder}, which is taken by {holder}", flush=True)
            said = True


def _take(file: BinaryIO) -> bool:
    # Unlike flock's, these locks are not inherited by data workers, which may outlive a killed process for a moment.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (*TAKEN, *NO_LOCKS_HERE):
            raise UserError(f"{file.name} cannot be locked: {error.strerror}") from error
        return error.errno in NO_LOCKS_HERE
    return True
