"""Devices, pipes and links as targets; complete or no files elsewhere are tested where they are written."""

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from common.atomic_files import check_target, cut_name, whole_file
from networks.errors import UserError


def write(path, text="score\n"):
    check_target(path)
    with whole_file(path) as temporary:
        temporary.write_text(text)


def device(tmp_path, name, minor):
    """A device of the test's own: a mistake would replace that of the machine."""
    path = tmp_path / name
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        open(path, "wb").close()
    except OSError:
        pytest.skip("devices can be made by root alone")
    return path


def test_a_device_stays_a_device(tmp_path):
    null, full = device(tmp_path, "null", 3), device(tmp_path, "full", 7)
    write(null)
    with pytest.raises(UserError, match=r"full cannot be written: No space left on device"):
        write(full)
    assert all(stat.S_ISCHR(path.stat().st_mode) for path in (null, full))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "null"]


def test_a_pipe_gets_the_content(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join(10)
    assert received == ["score\n"]


@pytest.mark.parametrize("redirection", ["| cat", "> out.txt; cat out.txt"])
def test_standard_output_by_its_name(tmp_path, redirection):
    code = (
        "from common.atomic_files import whole_file\nprint('before', flush=True)\n"
        "with whole_file('/dev/fd/1') as file: file.write_text('score')\n"
    )
    command = f'cd {tmp_path}; PYTHONPATH={Path.cwd()} {sys.executable} -c "{code}" {redirection}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "score" in done.stdout and done.stderr == ""


def test_a_link_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "latest.csv").symlink_to("elsewhere/scores.csv")
    write(tmp_path / "latest.csv")
    assert (tmp_path / "latest.csv").is_symlink() and (tmp_path / "elsewhere" / "scores.csv").read_text() == "score\n"


def test_a_name_is_cut_between_characters():
    assert cut_name("写写", 5) == "写" and cut_name("abc", 2) == "ab"


@contextlib.contextmanager
def largest_file(size):
    """Within it, no file can be larger, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_safetensors_that_do_not_fit_on_the_disk_are_a_sentence_and_no_file(tmp_path):
    path = tmp_path / "x.safetensors"
    refused = pytest.raises(UserError, match=r"x\.safetensors cannot be written: File too large")
    with largest_file(1024), refused, whole_file(path) as temporary:
        save_file({"x": np.ones(4000, np.float32)}, temporary)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_named_beside_the_one_that_is_not_written(tmp_path):
    with pytest.raises(UserError) as caught, whole_file(tmp_path / "x"):
        (tmp_path / "rows.npy").read_bytes()
    assert caught.value.sentence.endswith(f"x cannot be written: No such file or directory ({tmp_path}/rows.npy)")
    refused = pytest.raises(UserError, match=r"/x cannot be written: No(t a| such file or) directory")
    with refused, whole_file(tmp_path / "x") as new:
        (new / "below" / "it").write_bytes(b"")
    assert list(tmp_path.iterdir()) == []
