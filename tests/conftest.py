"""What every test needs: results that do not depend on the machine's cores, and a mark for tests of real processes."""

import os

# Before torch is imported, here and in the processes that tests start: several of them share a few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Files that start processes come first: of two workers, none should be left alone with the longest file."""
    files = {item.path for item in items if item.get_closest_marker("processes")}
    items.sort(key=lambda item: item.path not in files)


def pytest_xdist_auto_num_workers():
    """One worker more than cores, and at most four: tests of processes often wait for a disk or for each other."""
    return min((os.cpu_count() or 1) + 1, 4)
