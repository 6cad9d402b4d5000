"""One process at a time in a folder."""

import errno
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import TextIO

from common.errors import UserError

LOCK = ".lock"

PATIENCE = 5
"""Seconds in which a process of this machine that was killed is gone, with its locks."""

PATIENCE_WITH_OTHERS = 120
"""Seconds after which a file server has forgotten the locks of a machine that fell silent."""


def hold(folder: str | os.PathLike) -> TextIO:
    """Takes ``folder`` for this process, as long as what is returned stays open; the process's end, too, gives it back.

    Raises UserError, with the other's number and machine, where another process has the folder and keeps it. A file
    system that has no locks keeps nobody out.
    """
    file = open(Path(folder, LOCK), "a+", encoding="utf-8")  # noqa: SIM115  (to be closed by the caller)
    asked = time.monotonic()
    patience = 0
    while not _take(file):
        file.seek(0)
        holder = file.read().strip()
        if not patience:
            patience = PATIENCE if f" on {socket.gethostname()}, " in holder else PATIENCE_WITH_OTHERS
            print(f"waiting up to {patience} s for {folder}, which is taken by {holder}", flush=True)
        if time.monotonic() - asked > patience:
            file.close()
            raise UserError(f"{folder} is taken by {holder}; wait for its end, or stop it, or take another folder")
        time.sleep(0.1)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    file.flush()
    return file


def _take(file: TextIO) -> bool:
    # Unlike flock's, these locks are not inherited by data workers, which may outlive a killed process for a moment.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True
