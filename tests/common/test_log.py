"""Which line goes where: a script's results can be piped on, and a job of several processes prints each line once."""

import pytest

from common import log


@pytest.fixture(autouse=True)
def restored():
    yield
    log.set_quiet(False)


def test_results_go_to_stdout_and_warnings_with_the_script_to_stderr(capsys):
    log.set_script("train_regressor.py")
    log.info("score 0.5")
    log.warning("2 images were left out")
    log.error("scores.csv does not exist")
    output, errors = capsys.readouterr()
    assert output == "score 0.5\n"
    assert errors == (
        "train_regressor.py: warning: 2 images were left out\ntrain_regressor.py: scores.csv does not exist\n"
    )


def test_a_quiet_process_prints_nothing_but_its_own_failure(capsys):
    log.set_quiet(True)
    log.info("3 epochs")
    log.warning("the batch is small")
    log.error("process 1 on node-b: out of memory")
    output, errors = capsys.readouterr()
    assert output == "" and "node-b" in errors and "batch" not in errors
