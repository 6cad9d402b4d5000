"""Windows has no fcntl, SIGUSR1, SIGHUP and prctl: the modules that inference needs can be imported without them."""

import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys
import options.contrast, torch.distributed, tqdm  # other people's, on the real platform
sys.platform = "win32"
sys.modules["fcntl"] = None
del signal.SIGUSR1, signal.SIGHUP, signal.pthread_sigmask, signal.pthread_kill
import common.folder_lock, common.process, learning.distributed.process_group, networks.errors
common.process.use_one_core()
try:
    common.folder_lock.hold("nowhere")
except networks.errors.UserError as error:
    print(error)
"""


@pytest.mark.slow
def test_inference_imports_nothing_that_windows_lacks():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ("nowhere cannot be locked, which needs Linux or macOS; on Windows, use WSL\n")
