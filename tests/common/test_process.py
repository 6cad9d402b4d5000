"""Scripts end with a sentence and a status, and only our own mistakes show a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common import process
from common.process import (
    INTERRUPTED,
    TERMINATED,
    Stopped,
    answer_signals,
    note_signals,
    noted_signal,
    run_script,
)
from networks.errors import UserError
from tests.runs import ROOT


@pytest.mark.parametrize("returned, status", [(None, 0), (0, 0), (1, 1)])
def test_the_status_is_what_the_work_returns(returned, status):
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: returned)
    assert ended.value.code == status


def test_a_users_mistake_is_a_sentence_and_status_1(capsys):
    def work():
        raise UserError("scores.csv, line 3: 'good' is not a number")

    with pytest.raises(SystemExit) as ended:
        run_script(work)
    assert ended.value.code == 1
    assert capsys.readouterr().err.endswith(": scores.csv, line 3: 'good' is not a number\n")


each_signal = pytest.mark.parametrize(
    "number, status",
    [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED), (signal.SIGHUP, TERMINATED)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)


def assert_ends(code, folder, status, errors):
    """The code, run in an empty folder, ends with this status and this on stderr, and leaves no file."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (status, errors)
    assert not list(folder.iterdir())


@each_signal
def test_a_signal_says_what_is_kept_and_leaves_no_half_file(tmp_path, number, status):
    code = f"""
import os, time
from common.atomic_files import whole_file
from common.process import run_script

def work():
    with whole_file("scores.csv") as temporary:
        temporary.write_text("image,score")
        os.kill(os.getpid(), {int(number)})
        time.sleep(60)

run_script(work, after_interrupt="interrupted; features are kept")
"""
    assert_ends(code, tmp_path, status, "-c: interrupted; features are kept\n")


@each_signal
def test_a_signal_that_comes_twice_does_not_interrupt_the_clean_up(tmp_path, number, status):
    """A terminal and a launcher both send Ctrl-C."""
    code = f"""
import os, time
from pathlib import Path
from common.process import run_script

def work():
    Path("temporary").touch()
    try:
        os.kill(os.getpid(), {int(number)})
        time.sleep(60)
    finally:
        os.kill(os.getpid(), {int(number)})
        time.sleep(0.1)
        Path("temporary").unlink()

run_script(work)
"""
    assert_ends(code, tmp_path, status, "-c: interrupted\n")


def test_a_signal_at_the_edge_of_a_block_leaves_no_half_file(tmp_path):
    """Python can answer it when the block has ended and its clean-up has not begun."""
    code = """
import os, signal
from common.atomic_files import whole_file
from common.process import run_script

def work():
    block = whole_file("a.txt")
    block.__enter__().write_text("half")
    os.kill(os.getpid(), signal.SIGINT)

run_script(work)
"""
    assert_ends(code, tmp_path, INTERRUPTED, "-c: interrupted\n")


@each_signal
def test_a_signal_is_answered_also_where_python_drops_its_exception(tmp_path, number, status):
    """As while it deletes an object: it would print a traceback and continue."""
    code = f"""
import os, time
from common.process import run_script

class Deleted:
    def __del__(self):
        os.kill(os.getpid(), {int(number)})
        time.sleep(0.1)

def work():
    Deleted()
    time.sleep(10)

run_script(work)
"""
    assert_ends(code, tmp_path, status, "-c: interrupted\n")


def test_with_nohup_a_script_continues_when_its_terminal_closes(tmp_path):
    code = """
import os, signal
from common.process import run_script

signal.signal(signal.SIGHUP, signal.SIG_IGN)
run_script(lambda: os.kill(os.getpid(), signal.SIGHUP))
"""
    assert_ends(code, tmp_path, 0, "")


def test_a_noted_signal_is_answered_afterwards_and_a_second_ctrl_c_at_once(monkeypatch):
    answer_signals()
    note_signals(True)
    os.kill(os.getpid(), signal.SIGINT)
    assert noted_signal() == signal.SIGINT
    os.kill(os.getpid(), signal.SIGINT)  # the same press, from a launcher
    monkeypatch.setattr(process, "SECONDS_OF_ONE_PRESS", 0)
    with pytest.raises(Stopped, match="interrupted by SIGINT a second time"):
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Stopped, match="interrupted by SIGINT"):
        note_signals(False)
    assert noted_signal() == 0


@pytest.mark.processes
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_signal_is_answered_also_while_a_script_imports_its_packages(tmp_path, number, status):
    """Python itself has a traceback for the first hundredths of a second: ``import torch`` takes seconds."""
    started = subprocess.Popen(
        [sys.executable, ROOT / "predict_quality.py", "--input", tmp_path / "a.png"], stderr=subprocess.PIPE, text=True
    )
    libraries = Path(f"/proc/{started.pid}/maps")
    while "torch" not in libraries.read_text():
        assert started.poll() is None
        time.sleep(0.01)
    started.send_signal(number)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == status
    assert errors == "predict_quality.py: interrupted; --features FOLDER would keep the features computed so far\n"


def test_our_own_mistake_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 / 0)


@pytest.mark.parametrize("own, used", [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_user_has_a_policy(own, used):
    """It must be known when torch is imported, which no script does before its work."""
    code = """
import os, sys
from common.process import run_script
run_script(lambda: print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": own} if own else {}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{used} False\n"


SAY = "from common import log; from common.process import run_script; run_script(lambda: log.info('score 0.5' * 10000))"


@pytest.mark.parametrize(
    "redirection, status, said",
    [
        ("> /dev/full", 1, "-c: the standard output cannot be written: No space left on device\n"),
        ("| true", 141, ""),  # nobody reads: an end, no error
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("2> /dev/full", 0, ""),
    ],
)
def test_an_output_that_cannot_be_written(redirection, status, said):
    command = f"set -o pipefail; {sys.executable} -c \"sleep=__import__('time').sleep(0.5); {SAY}\" {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (status, said)


def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path):
    """Messages of C libraries would be written into it."""
    code = f"from common import log; import os; file = open('{tmp_path}/scores.csv', 'w'); os.write(2, b'libtiff')"
    subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" 2>&-'], check=True, timeout=60)
    assert (tmp_path / "scores.csv").read_bytes() == b""


def test_a_current_folder_that_is_gone(tmp_path):
    (tmp_path / "gone").mkdir()
    code = f"import os, sys; sys.path.insert(0, os.getcwd()); os.chdir('{tmp_path}/gone'); os.rmdir('../gone'); {SAY}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        1,
        "-c: the current folder has been deleted; change to another one (cd)\n",
    )


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1", "cp1252"])
def test_names_that_the_output_cannot_hold_are_printed_with_escapes(encoding):
    code = "from common import log; log.info('\\u65e5\\udce9.png 3.5'); log.error('\\u65e5\\udce9.png')"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=60)
    assert done.returncode == 0
    assert done.stdout.endswith(b"\\udce9.png 3.5\n") and done.stderr.endswith(b"\\udce9.png\n")


@pytest.mark.parametrize(
    "error, sentence",
    [
        (OSError(28, "No space left on device", "/tmp/x"), "/tmp/x: No space left on device"),
        (MemoryError(), "the memory is too small"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "the memory is too small"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "the memory is too small"),
    ],
)
def test_an_error_of_the_system_is_a_sentence(error, sentence, capsys):
    def work():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_script(work)
    assert ended.value.code == 1
    assert sentence in capsys.readouterr().err


def test_workers_that_are_ended_with_their_process_are_no_error():
    """By a thread, while the main thread has a handler like torch's, which reports a data worker that has died."""
    code = """
import multiprocessing, signal, sys, threading, time
from common.process import exit_at_once

class SlowOutput:
    def flush(self):
        time.sleep(0.1)  # lets the main thread run, as a terminal or a pipe may

def report(*_):
    print("a worker has died", file=sys.stderr)

multiprocessing.set_start_method("fork")
for _ in range(2):
    multiprocessing.Process(target=time.sleep, args=(600,)).start()
sys.stdout = SlowOutput()
signal.signal(signal.SIGCHLD, report)
threading.Thread(target=exit_at_once, args=(130,)).start()
while True:
    sum(range(1000))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")
