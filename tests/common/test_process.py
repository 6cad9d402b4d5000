"""Scripts end with a sentence and a status, and only our own mistakes show a traceback."""

import subprocess
import sys

import pytest

from common import process
from common.errors import UserError
from common.process import INTERRUPTED, run_script


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


def test_ctrl_c_says_what_is_kept_and_ends_with_130(capsys, monkeypatch):
    def exit_at_once(status):
        raise SystemExit(status)

    def work():
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "exit_at_once", exit_at_once)
    with pytest.raises(SystemExit) as ended:
        run_script(work, after_interrupt="interrupted; nothing was written")
    assert ended.value.code == INTERRUPTED
    assert "interrupted; nothing was written" in capsys.readouterr().err


def test_our_own_mistake_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 / 0)


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
