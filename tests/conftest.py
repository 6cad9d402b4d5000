"""What every test needs: results that do not depend on the machine's cores, and a mark for tests of real processes."""

import os
import signal
import sys

# Before torch is imported, here and in the processes that tests start: several of them share a few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from unittest import mock

import pytest

from common.process import SIGNALS
from networks import resnet
from networks.checkpoint_formats import architecture_shapes
from tests import fork_server


@pytest.fixture(autouse=True)
def own_signal_handlers():
    """A script that runs in the tests' own process leaves the system's handlers behind: Ctrl-C would end the tests."""
    handlers, hook = {number: signal.getsignal(number) for number in SIGNALS}, sys.unraisablehook
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    sys.unraisablehook = hook


@pytest.fixture(scope="module")
def narrow_networks():
    """The ResNets of tests/narrow_contrast.py, in the tests' own process."""
    with mock.patch.object(resnet, "WIDTH", 8):
        architecture_shapes.cache_clear()
        yield
    architecture_shapes.cache_clear()


def pytest_configure(config):
    """The workers of pytest-xdist have one server that forks scripts; it gets ready while they collect the tests."""
    distributes = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if distributes and sys.platform == "linux" and "not processes" not in config.option.markexpr:
        fork_server.start_server()


def pytest_collection_modifyitems(items):
    """Files that start processes come first: of two workers, none should be left alone with the longest file."""
    files = {item.path for item in items if item.get_closest_marker("processes")}
    items.sort(key=lambda item: item.path not in files)


def pytest_xdist_auto_num_workers(config):
    """A worker for each core, at most four. Tests of processes often wait for a disk or for each other: one more."""
    cores = os.cpu_count() or 1
    return min(cores if "not processes" in config.option.markexpr else cores + 1, 4)
