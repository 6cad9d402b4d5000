"""Progress in a log: the time of the first items is no guide to that of the rest."""

from common import progress_bar
from common.progress_bar import ProgressBar


def test_the_first_items_do_not_count_for_the_time_left(monkeypatch, capsys):
    seconds = iter([0, 100, 120, 120])
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: next(seconds))
    bar = ProgressBar(12, "image")  # at 0 s
    bar.add(2)  # at 100 s, of which most went into loading the encoders
    bar.add(5)  # at 120 s
    assert capsys.readouterr().out == "7 of 12 images, 0.2 images/s, left 00:20\n"
