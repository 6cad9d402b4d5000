"""What this machine, or the container that this process runs in, has to offer."""

from __future__ import annotations

from pathlib import Path

from common import log

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container reads its own limit: cgroups of version 2 and of version 1."""

CPUINFO = Path("/proc/cpuinfo")
"""Where Linux describes the processor."""


def n_cores() -> int:
    """The cores that this process may use: fewer than the machine's under taskset, or with a container's quota."""
    import joblib  # takes a fifth of a second, which --help does not need

    return joblib.cpu_count()


def warn_of_slow_amp(device: str) -> None:
    """A warning where --amp is for a "cpu" without instructions for bfloat16: it then takes several times longer."""
    flags = CPUINFO.read_text(encoding="utf-8", errors="replace") if CPUINFO.is_file() else ""
    if device == "cpu" and "avx2" in flags and "avx512_bf16" not in flags:
        log.warning("this processor has no instructions for bfloat16: without --amp, it is several times faster")


def memory() -> int:
    """Bytes of memory: the machine's, or the container's limit where that is lower."""
    import psutil

    # A limit that is not set reads "max" in version 2, and as a number beyond any machine in version 1.
    limits = [
        int(text)
        for file in CGROUP_LIMITS
        if file.is_file() and (text := file.read_text(encoding="utf-8").strip()) != "max"
    ]
    return min([psutil.virtual_memory().total, *limits])
