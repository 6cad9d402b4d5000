"""Hosts on a network, for tests and benchmarks: network namespaces joined by a bridge, each with its own address.

Needs root, or rather what it takes to make network namespaces, and iproute2's ``ip``.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


class NoNamespaces(Exception):
    """No network namespaces can be made here; says why."""


def ip(*arguments) -> None:
    """Runs ``ip`` with these arguments. Raises NoNamespaces if it fails."""
    done = subprocess.run(["ip", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise NoNamespaces(
            f"network namespaces are not allowed here: ip {' '.join(map(str, arguments))}: {done.stderr.strip()}"
        )


@contextmanager
def namespaces(n_hosts: int) -> Iterator[list[str]]:
    """Names of namespaces with addresses 10.0.0.1, 10.0.0.2, ... on their eth0. Raises NoNamespaces."""
    if shutil.which("ip") is None:
        raise NoNamespaces("iproute2 is not installed here, so that no network namespaces can be made")
    names = [f"reiqa-{os.getpid()}-{host}" for host in range(n_hosts)]
    bridge = f"reiqa-{os.getpid()}-bridge"
    try:
        ip("netns", "add", bridge)
        ip("-n", bridge, "link", "add", "bridge0", "type", "bridge")
        ip("-n", bridge, "link", "set", "bridge0", "up")
        for host, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"port{host}", "netns", bridge)
            ip("-n", bridge, "link", "set", f"port{host}", "master", "bridge0", "up")
            ip("-n", name, "address", "add", f"10.0.0.{host + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in (*names, bridge):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
