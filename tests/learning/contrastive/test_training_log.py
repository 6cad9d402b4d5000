"""Curves that cannot be written end a run with a sentence, whichever thread meets the full disk first."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

PROGRAM = """
import resource, sys
from contextlib import closing
from pathlib import Path
import torch
from common.errors import UserError
from learning.distributed.environment import ProcessContext
from learning.contrastive.training_state import Position
from learning.contrastive.training_log import Progress, Step
from options.contrast import parse_contrast_options

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a disk on which no file grows beyond
try:
    options = parse_contrast_options(["--print_freq", "1", "--epochs", "1"])
    with closing(Progress(options, ProcessContext(), Path(sys.argv[1]), 100_000, Position())) as progress:
        if sys.argv[2] == "picture":
            progress.picture(torch.randint(256, (12, 6, 96, 96), dtype=torch.uint8))
        for step, _ in enumerate(progress.batches([torch.zeros(1, 1)] * 1000), start=1):
            progress.add(Step(Position(0, step, step), 0.1, torch.tensor(1.0), torch.tensor(50.0)))
except UserError as error:
    sys.exit(error.sentence)
"""


@pytest.mark.parametrize("first", ["picture", "curves"])
def test_a_full_disk_is_told_once_in_a_sentence(tmp_path, first):
    command = [sys.executable, "-c", PROGRAM, tmp_path, first]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr == f"--tb_path: {tmp_path} cannot be written: File too large\n"
