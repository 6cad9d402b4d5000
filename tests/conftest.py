"""What every test needs: results that do not depend on the machine's cores, and a mark for tests of real processes."""

import os

# Before torch is imported, here and in the processes that tests start: several of them share a few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
