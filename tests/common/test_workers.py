"""Signals that come while workers start."""

import contextlib
import os
import signal
import threading
import time

import pytest

from common.process import answer_signals, signals_delayed


@pytest.fixture(autouse=True)
def answered():
    answer_signals()


@contextlib.contextmanager
def another_thread():
    """A thread that blocks no signals: the system hands it those that the main thread blocks."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("with_thread", [False, True])
def test_an_interrupt_is_raised_after_the_start_of_the_workers(with_thread):
    """In the start, Python would print it as an exception that it ignores, and lose it."""
    started = False
    thread = another_thread() if with_thread else contextlib.nullcontext()
    with thread, pytest.raises(KeyboardInterrupt), signals_delayed():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        started = True
    assert started


def test_an_interrupt_comes_before_the_error_of_a_start_that_fails():
    with another_thread(), pytest.raises(KeyboardInterrupt), signals_delayed():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        raise OSError("no memory")
