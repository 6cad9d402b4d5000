"""main_contrast.py as a person runs it, in full width, and its checkpoint in a program for the released ones."""

import pytest
import torch
import torchvision

from networks import load_encoder
from tests.images import write_training_set
from tests.runs import checkpoint, run_folder, train

pytestmark = pytest.mark.processes


def test_a_checkpoint_is_what_a_program_for_the_released_ones_expects(tmp_path):
    csv_path = write_training_set(tmp_path / "images", n_images=10)
    status, output, errors = train(csv_path, tmp_path / "run", "--epochs", 2, script="main_contrast.py")
    assert status == 0 and "epoch 2/2  step 3/3" in output, errors
    folder = tmp_path / "run"
    state = checkpoint(folder)
    assert sorted(path.name for path in run_folder(folder).glob("*.pth")) == [
        "ckpt_epoch_1.pth",
        "ckpt_epoch_2.pth",
        "current.pth",
    ]
    assert state["contrast"]["memory"].shape == (48, 16)
    assert state["queue_position"] == 2 * 3 * 4 * 6 % 48 and state["epoch"] == 2

    class TheirNetwork(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torchvision.models.resnet18()
            self.encoder.fc = torch.nn.Identity()
            self.head = torch.nn.Sequential(
                torch.nn.Linear(512, 512), torch.nn.ReLU(inplace=True), torch.nn.Linear(512, 16)
            )

        def forward(self, x):
            return self.head(self.encoder(x))

    network = TheirNetwork()
    torch.nn.DataParallel(network).load_state_dict(state["model"])
    network.cpu()  # on a machine with a GPU, DataParallel has moved it there
    encoder = load_encoder(run_folder(folder) / "current.pth", "resnet18")
    images = torch.rand(2, 3, 40, 40)
    with torch.inference_mode():
        assert torch.equal(encoder(images), network.eval().encoder(images))
    network.load_state_dict(state["model_ema"])
    moved = (state["model_ema"]["encoder.conv1.weight"] - state["model"]["module.encoder.conv1.weight"]).abs().max()
    assert moved > 0
