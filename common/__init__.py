"""What every other package needs and none should own: errors, log lines, process exits, files, locks, progress bars."""

import os

# Set before torch is imported: torch's C++ part would print pages of stack for errors that Python receives anyway.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
