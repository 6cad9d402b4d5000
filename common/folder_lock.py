"""A lock on a folder, so that only one process at a time writes there.

Written here because the lock must be released by the system when its process is killed, must not be inherited by data
workers, and must name its holder; ``filelock`` and similar packages do not do all three.
"""

import contextlib
import errno
import os
import socket
import sys
import time
from pathlib import Path
from typing import BinaryIO

from common import log
from networks.errors import UserError

if sys.platform != "win32":  # Windows has no fcntl, and must be able to import this module
    import fcntl

LOCK = ".lock"

PATIENCE = 10
"""Seconds to wait for a lock of this machine: a killed process is gone by then, and its locks with it."""

PATIENCE_WITH_OTHER_MACHINES = 120
"""Seconds to wait for a lock of another machine: a file server drops the locks of a silent machine by then."""

UNKNOWN_HOLDER = "another process"

LOCKED = (errno.EACCES, errno.EAGAIN)
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def hold(folder: str | os.PathLike) -> BinaryIO:
    """Makes ``folder`` if it is missing, and locks it until the returned file is closed or this process ends.

    If another process holds the lock, waits for a while. Raises UserError, with the other process's id and machine, if
    the lock is still held then. On a file system without locks every process gets the lock. A process never locks
    itself out.
    """
    if sys.platform == "win32":
        raise UserError(f"{folder} cannot be locked, which needs Linux or macOS; on Windows, use WSL")
    path = Path(folder, LOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b", buffering=0)  # noqa: SIM115  (to be closed by the caller)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    asked, reported = time.monotonic(), False
    try:
        while not _try_lock(file):
            time.sleep(0.1)
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or UNKNOWN_HOLDER
            here = holder == UNKNOWN_HOLDER or f" on {socket.gethostname()}, " in holder
            patience = PATIENCE if here else PATIENCE_WITH_OTHER_MACHINES
            if time.monotonic() - asked > patience:
                raise UserError(f"{folder} is locked by {holder}; wait for its end, or stop it, or use another folder")
            if not reported:
                log.info(f"waiting up to {patience} s for {folder}, which is locked by {holder}")
                reported = True
    except BaseException:
        file.close()
        raise
    with contextlib.suppress(OSError):  # only the file's owner can do this, and has to
        os.fchmod(file.fileno(), 0o666)  # other users of the folder must be able to lock it
    with contextlib.suppress(OSError):  # the lock holds also on a full disk, without a name
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {since}\n".encode())
    return file


def _try_lock(file: BinaryIO) -> bool:
    """Whether this process has the lock now."""
    # Unlike flock's, these locks are not inherited by data workers, which may outlive a killed process for a moment.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (*LOCKED, *NO_LOCKS_HERE):
            raise UserError(f"{file.name} cannot be locked: {error.strerror}") from error
        return error.errno in NO_LOCKS_HERE
    return True
