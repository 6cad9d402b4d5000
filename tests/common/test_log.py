"""Which line goes where: a script's results can be piped on, and a job of several processes prints each line once."""

import sys

import pytest

from common import log
from options.builder import Parser


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["predict_quality.py"])
    yield
    log.set_quiet(False)


def test_results_go_to_stdout_and_warnings_with_the_script_to_stderr(capsys):
    log.info("score 0.5")
    log.warning("2 images were left out")
    log.error("scores.csv does not exist")
    output, errors = capsys.readouterr()
    assert output == "score 0.5\n"
    assert errors == (
        "predict_quality.py: warning: 2 images were left out\npredict_quality.py: scores.csv does not exist\n"
    )


def test_a_quiet_process_prints_nothing_but_its_own_failure(capsys):
    log.set_quiet(True)
    log.info("3 epochs")
    log.warning("the batch is small")
    log.error("process 1 on node-b: out of memory")
    output, errors = capsys.readouterr()
    assert output == "" and "node-b" in errors and "batch" not in errors


HOSTILE = "a\x1b[2Jb\rc\nd\x9b5mé\u200dz\udcff\u2028.png"
ESCAPED = r"a\x1b[2Jb\rc\nd\x9b5mé" + "\u200d" + r"z\udcff\u2028.png"


def test_control_characters_of_a_name_are_written_as_escapes(capsys):
    """A terminal would obey them; letters of any script, and joined ones, stay as they are."""
    log.info(f"\n1.0 {HOSTILE}")
    log.warning(f"image {HOSTILE} is small")
    log.error(f"image {HOSTILE} cannot be read")
    output, errors = capsys.readouterr()
    assert output == f"\n1.0 {ESCAPED}\n"
    assert errors == (
        f"predict_quality.py: warning: image {ESCAPED} is small\npredict_quality.py: image {ESCAPED} cannot be read\n"
    )


def test_wrong_options_are_shown_with_escapes(capsys):
    parser = Parser(prog="predict_quality.py")
    with pytest.raises(SystemExit):
        parser.parse_args(["--inptu=\x1b[2J\n"])
    assert capsys.readouterr().err == (
        "predict_quality.py: unrecognized arguments: --inptu=\\x1b[2J\\n (--help lists the options)\n"
    )
