"""A folder is one process's at a time, and free again when that process is gone, however it went."""

import signal
import subprocess
import sys

import pytest

from common import folder_lock
from common.folder_lock import hold
from networks.errors import UserError

HOLDER = """
import sys, time
from common.folder_lock import hold
held = hold(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_locked_folder_is_refused_with_the_holders_number(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.3)
    for _ in range(2):  # the refused one leaves the holder's name and lock as they are
        with pytest.raises(UserError, match=f"{tmp_path} is locked by process {holder.pid} on .*, since 20"):
            hold(tmp_path)


def test_a_holder_that_has_not_written_its_name_is_one_of_this_machine(tmp_path, holder, monkeypatch):
    (tmp_path / folder_lock.LOCK).write_text("")
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.3)
    with pytest.raises(UserError, match="is locked by another process; wait"):
        hold(tmp_path)


def test_a_machine_that_fell_silent_is_waited_for_longer(tmp_path, holder, monkeypatch):
    (tmp_path / folder_lock.LOCK).write_text("process 1 on another-machine, since yesterday\n")
    monkeypatch.setattr(folder_lock, "PATIENCE_WITH_OTHER_MACHINES", 0.3)
    with pytest.raises(UserError, match="is locked by process 1 on another-machine, since yesterday; wait"):
        hold(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path}/file/run/.lock cannot be written"):
        hold(tmp_path / "file" / "run")


def test_every_user_of_the_folder_can_lock_it(tmp_path):
    hold(tmp_path).close()
    assert (tmp_path / folder_lock.LOCK).stat().st_mode & 0o666 == 0o666


def test_a_killed_process_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    hold(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder_lock.LOCK]


def test_an_end_is_waited_for(tmp_path, holder, capsys):
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill {holder.pid}"])
    hold(tmp_path).close()
    assert f"waiting up to 10 s for {tmp_path}, which is locked by process {holder.pid}" in capsys.readouterr().out


def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path, holder, monkeypatch):
    def no_locks(*_):
        raise OSError(folder_lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock.fcntl, "lockf", no_locks)
    hold(tmp_path).close()
