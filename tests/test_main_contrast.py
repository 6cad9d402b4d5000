"""main_contrast.py in the tests' own process: mistakes end in a sentence, wherever they are found."""

import sys

import pytest
import torch

import main_contrast
from learning.distributed import launch
from networks.errors import UserError
from tests.images import write_training_set
from tests.runs import SMALL, as_a_script, train_here

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"), n_images=10)


def test_mistakes_get_a_sentence(csv_path, tmp_path, monkeypatch):
    # It would end the tests' process.
    monkeypatch.setattr(launch, "run_rank", lambda train, *arguments: train(*arguments))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    def refused(*arguments):
        monkeypatch.setattr(sys, "argv", ["main_contrast.py", *map(str, arguments)])
        with pytest.raises(UserError) as caught, as_a_script():
            main_contrast.main()
        return caught.value.sentence

    two = ["--multiprocessing-distributed", "--nproc-per-node", 2]
    assert "nowhere.csv does not exist" in refused("--csv_path", tmp_path / "nowhere.csv")
    assert "5 images do not divide over 2 processes" in refused("--csv_path", csv_path, "--batch_size", 5, *two)
    assert "nccl needs a GPU" in refused("--csv_path", csv_path, "--dist-backend", "nccl")
    assert "--gpu 0: this machine has 0 GPUs" in refused("--csv_path", csv_path, "--gpu", 0)
    (tmp_path / "t.csv").write_text("Image_path\nmissing.png\n")
    assert "line 2: image missing.png does not exist" in refused("--csv_path", tmp_path / "t.csv")
    (tmp_path / "file").touch()
    for option in ("--tb_path", "--model_path"):
        paths = {"--tb_path": tmp_path, "--model_path": tmp_path, option: tmp_path / "file" / "x"}
        given = [argument for pair in paths.items() for argument in pair]
        assert "cannot be written" in refused(*SMALL, "--csv_path", csv_path, *given)
    named = ["--resume", tmp_path / "nowhere.pth", "--model_path", tmp_path / "run", "--tb_path", tmp_path]
    assert "nowhere.pth does not exist" in refused(*SMALL, "--csv_path", csv_path, *named)
    assert not (tmp_path / "run").exists()
    assert "BatchNorm needs two" in refused("--csv_path", csv_path, "--batch_size", 1, "--n_aug", 0)
    assert "--n_aug 27: there are 26 kinds of distortion" in refused("--csv_path", csv_path, "--n_aug", 27)


def test_a_loss_that_is_not_finite_stops_the_run(csv_path, tmp_path):
    with pytest.raises(UserError, match=r"the loss is nan after (step \d of )?epoch \d"):
        train_here(csv_path, tmp_path, "--learning_rate", "1e30", "--epochs", 3)
