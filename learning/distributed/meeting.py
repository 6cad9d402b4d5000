"""Waiting until all nodes or processes of a training are there: visibly, for a limited time, and interruptible.

torch's own rendezvous waits inside a C++ call, without a word and deaf to signals.
"""

from __future__ import annotations

import datetime
import os
import socket
import time

import torch.distributed as dist

from common import log
from common.errors import UserError
from learning.distributed.environment import parse_dist_url

SECONDS_BETWEEN_REPORTS = 60
N_NAMED = 8

REPLACED = (
    "; if torchrun has replaced a node, it must run with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment of "
    "every node"
)
"""What may be wrong when the processes are to meet in torchrun's own store."""


class _Reporter:
    """Prints a waiting line: first after ``patience`` seconds, again when it changes, and every minute."""

    def __init__(self, seconds: float, patience: float):
        self._began = time.monotonic()
        self._seconds = seconds
        self._due = self._began + patience
        self._last = ""

    def report(self, text: str) -> None:
        now = time.monotonic()
        if now >= self._due or (self._last and text != self._last):
            waited = f" ({now - self._began:.0f} s so far, at most {self._seconds:.0f} s)" if self._last else ""
            log.info(text + waited)
            self._last = text
            self._due = now + SECONDS_BETWEEN_REPORTS


def meet(
    url: str,
    rank: int,
    count: int,
    what: str,
    same: str = "",
    seconds: float = 600,
    patience: float = 0,
    listen: bool = True,
    attempt: str = "",
) -> dist.TCPStore:
    """Waits until ``count`` nodes (or processes: ``what``) are at ``url``, where number 0 listens.

    Prints what it waits for, after ``patience`` seconds and then every minute. ``same`` must be the same text in all.
    With ``listen`` False the launcher has opened the store already; it survives restarts, so that each ``attempt`` has
    its own keys and a number may come again. Returns the store, which lives as long as it is referenced. Raises
    UserError when ``seconds`` are over, or for a number that comes twice.
    """
    host, port = parse_dist_url(url)
    reporter = _Reporter(seconds, patience)
    deadline = time.monotonic() + seconds
    address = f"{host}:{port}"
    store = _listen(host, port, what) if rank == 0 and listen else _reach(host, port, rank, what, deadline, reporter)
    try:
        if store.add(f"{attempt}{what} {rank}", 1) > 1 and listen:
            raise UserError(
                f"number {rank} of the {count} {what} has come to {address} twice: give each its own --rank"
            )
        if store.compare_set(f"{attempt}same", "", same).decode() != same:
            first = store.get(f"{attempt}same").decode()
            raise UserError(f"{what} {rank} differs from the first that came: {same} here, {first} there")
        while absent := [other for other in range(count) if not store.check([f"{attempt}{what} {other}"])]:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{len(absent)} of {count} {what} have not come to {address} within {seconds:.0f} s: "
                    f"number {_names(absent)}; start them, or raise --join-timeout" + ("" if listen else REPLACED)
                )
            reporter.report(f"waiting for {len(absent)} of {count} {what} at {address}")
            time.sleep(0.2 if time.monotonic() > deadline - seconds + 5 else 0.05)
    except dist.DistError as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"number 0 of the {what}, at {address}, has ended before all had come: {reason}") from None
    return store


def _names(numbers: list[int]) -> str:
    named = ", ".join(map(str, numbers[:N_NAMED]))
    return named + (f" and {len(numbers) - N_NAMED} more" if len(numbers) > N_NAMED else "")


def _listen(host: str, port: int, what: str) -> dist.TCPStore:
    """The store of number 0. Raises UserError if this machine cannot listen at the address."""
    # A cluster's MASTER_ADDR may be the name of a service, which leads here and is no address of this machine.
    _check_port_is_free(host, port, any_address=what != "nodes")
    try:
        return dist.TCPStore(
            host,
            port,
            is_master=True,
            wait_for_workers=False,
            multi_tenant=True,
            timeout=datetime.timedelta(seconds=30),
        )
    except (dist.DistError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"number 0 cannot listen at {host}:{port}: {reason}") from None


def _check_port_is_free(host: str, port: int, any_address: bool) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name == "posix":  # elsewhere the option lets two processes share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("" if any_address else host, port))
        except OSError as error:
            raise UserError(
                f"tcp://{host}:{port}: number 0 cannot listen there ({error.strerror}); give an address of this "
                "machine and a free port, the same on every node (--dist-url, or MASTER_ADDR and MASTER_PORT)"
            ) from None


def _reach(host: str, port: int, rank: int, what: str, deadline: float, reporter: _Reporter) -> dist.TCPStore:
    """A client of number 0's store, as soon as number 0 listens."""
    began = time.monotonic()
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            timeout = datetime.timedelta(seconds=30)
            return dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timeout)
        except (OSError, dist.DistError) as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"nobody has listened at {host}:{port} within {deadline - began:.0f} s ({error}): is number 0 of "
                    f"the {what} running, is the address its own, and does a firewall let number {rank} through?"
                ) from None
        reporter.report(f"waiting for number 0 of the {what} to listen at {host}:{port}")
        time.sleep(0.5)
