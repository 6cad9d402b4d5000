"""Runs scripts again and again without their seconds of imports: a server that has the packages forks each run.

The processes of a node are forked as well. Apart from that, a run is like ``python SCRIPT``: its arguments,
environment, working directory, output, process group and exit status are its own. Only on Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLONE_NEWNET = 0x40000000  # of <sched.h>: the kind of namespace that setns() enters

LONGEST = 240.0
"""Seconds after which a run is taken to hang: its processes print what they are doing, and are killed."""


class ForkedRun:
    """One run, with the part of ``subprocess.Popen``'s interface that the tests use.

    ``command`` is a script and its arguments. ``network`` is the name of the network namespace that the run enters, as
    ``ip netns exec`` does.
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        cwd: Path,
        start_new_session: bool = False,
        network: str | None = None,
    ):
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_server_address())
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        socket.send_fds(self._connection, [b"x"], [out_end, err_end])
        self._answers = self._connection.makefile("rw")
        self._answers.write(json.dumps([command, environment, str(cwd), start_new_session, network]) + "\n")
        self._answers.flush()
        os.close(out_end)
        os.close(err_end)
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self.pid = int(self._answers.readline())
        self.args = command
        self.returncode: int | None = None
        self._watch = threading.Timer(LONGEST, self._end_hanging)
        self._watch.daemon = True
        self._watch.start()

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.returncode = int(self._answers.readline())
            self._watch.cancel()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        if self.returncode is None and not select.select([self._connection], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.poll()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        texts = {}

        def read(file) -> None:
            texts[file] = file.read()

        files = [file for file in (self.stdout, self.stderr) if not file.closed]
        readers = [threading.Thread(target=read, args=(file,), daemon=True) for file in files]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        for file in files:
            file.close()
        return texts.get(self.stdout, ""), texts.get(self.stderr, "")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _end_hanging(self) -> None:
        if self.poll() is None:
            processes = [self.pid]
            for pid in processes:  # it grows: children are appended, and then theirs
                with contextlib.suppress(FileNotFoundError):
                    processes += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            for number in (signal.SIGUSR2, signal.SIGKILL):
                for pid in processes:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                time.sleep(1)


ADDRESS = "RE_IQA_FORK_SERVER"
"""Environment variable: the socket of the server, for the workers of pytest-xdist as for this process."""

_server: subprocess.Popen | None = None


def start_server() -> None:
    """Starts the server, which imports for seconds and ends with this process."""
    global _server
    os.environ[ADDRESS] = str(Path(tempfile.mkdtemp(), "socket"))
    _server = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", os.environ[ADDRESS]],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdin=subprocess.PIPE,  # its end tells the server that this process has ended
        start_new_session=True,
    )


def _server_address() -> str:
    """The socket of the server, when it is ready; TimeoutError where it is not after two minutes."""
    if ADDRESS not in os.environ:
        start_server()
    patience = time.monotonic() + 120
    while not Path(os.environ[ADDRESS]).exists():
        if time.monotonic() > patience:
            raise TimeoutError("the server that forks scripts did not start")
        time.sleep(0.01)
    return os.environ[ADDRESS]


def serve(address: str) -> None:
    """Forks a run for each connection. Returns in a forked child, and when standard input ends."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{address}.new")
    listening.listen()
    Path(f"{address}.new").rename(address)  # to whoever finds it there, it answers
    running: dict[int, tuple[int, socket.socket]] = {}  # by a file descriptor that is readable when the child ends
    while True:
        readable, _, _ = select.select([0, listening, *running], [], [])
        if 0 in readable:
            os._exit(0)
        for pidfd in set(readable) & running.keys():
            pid, connection = running.pop(pidfd)
            os.close(pidfd)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            connection.sendall(f"{status}\n".encode())
            connection.close()
        if listening in readable:
            connection, _ = listening.accept()
            _, (out, err), _, _ = socket.recv_fds(connection, 1, 2)
            wanted = json.loads(connection.makefile("r").readline())
            pid = os.fork()
            if pid == 0:
                for file in (listening, connection, *(connection for _, connection in running.values())):
                    file.close()
                become(*wanted, out, err)
                return
            os.close(out)
            os.close(err)
            connection.sendall(f"{pid}\n".encode())
            running[os.pidfd_open(pid)] = pid, connection


def become(
    command: list[str],
    environment: dict[str, str],
    cwd: str,
    new_session: bool,
    network: str | None,
    out: int,
    err: int,
) -> None:
    """Makes this forked child look like a process that was started with these."""
    if new_session:
        os.setsid()
    if network:
        enter_network(network)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    launch.START_METHOD = "fork"
    faulthandler.register(signal.SIGUSR2)  # prints where all threads are
    sys.argv = command


def enter_network(name: str) -> None:
    """Moves this process into a network namespace that ``ip netns add`` has made."""
    namespace = os.open(f"/run/netns/{name}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"cannot enter network namespace {name}")
    os.close(namespace)


if __name__ == "__main__":
    import torch._dynamo  # noqa: F401  (imported by the first optimiser of a process)

    # What the scripts import after their options are parsed.
    import learning.contrastive.trainer
    import learning.extraction.extract
    import learning.regression.model.predict
    import learning.regression.train  # noqa: F401
    from datasets.distortions import noise
    from learning.distributed import launch

    noise._pools()  # half a second, and the same in every process

    serve(sys.argv[1])
    runpy.run_path(sys.argv[0], run_name="__main__")
