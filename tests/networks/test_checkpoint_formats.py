"""Checkpoints of every format give the same encoder; what does not fit or is unsafe is refused with a reason."""

import argparse
import pickle
import subprocess
import sys

import pytest
import torch
import torchvision

from common.errors import UserError
from networks import ContrastiveNetwork, build_encoder, load_encoder
from networks.checkpoint_formats import find_architecture, fingerprint, read_checkpoint


@pytest.fixture(scope="module")
def network():
    """No weight is 0, as after training: with the initial ones, whatever a branch holds would go unnoticed."""
    torch.manual_seed(0)
    network = ContrastiveNetwork("resnet18", "mlp")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def _formats(network):
    state = network.state_dict()
    encoder, head = network.encoder.state_dict(), network.head.state_dict()
    prefixed = {f"module.{name}": value for name, value in state.items()}
    moco = {f"module.encoder_q.{name}": value for name, value in encoder.items()}
    moco |= {f"module.encoder_q.fc.{name}": value for name, value in head.items()}
    moco |= {f"module.encoder_k.{name}": value * 0 for name, value in encoder.items()} | {"module.queue": torch.ones(2)}
    classifier = torchvision.models.resnet18(weights=None).fc.state_dict()
    bare = encoder | {f"fc.{name}": value for name, value in classifier.items()}
    no_counters = {name: value for name, value in bare.items() if "num_batches" not in name}
    options = argparse.Namespace(arch="resnet18")
    return {
        "ours": ({"model": prefixed, "epoch": 3, "queue_position": 5}, "mlp", 3),
        "released": ({"opt": options, "model": prefixed, "model_ema": state, "contrast": {}, "epoch": 40}, "mlp", 40),
        "released, unwrapped": ({"model": state, "epoch": 1}, "mlp", 1),
        "MoCo": ({"epoch": 200, "arch": "resnet18", "state_dict": moco}, "mlp", 200),
        "torchvision": (bare, "none", None),
        "torchvision, wrapped": (
            {"state_dict": {f"module.{name}": value for name, value in bare.items()}},
            "none",
            None,
        ),
        "before PyTorch 0.4.1": (no_counters, "none", None),
    }


@pytest.mark.parametrize(
    "name",
    ["ours", "released", "released, unwrapped", "MoCo", "torchvision", "torchvision, wrapped", "before PyTorch 0.4.1"],
)
def test_every_format_gives_the_same_features(network, tmp_path, name):
    content, head, epoch = _formats(network)[name]
    torch.save(content, tmp_path / "a.pth")
    encoder = load_encoder(tmp_path / "a.pth", arch="resnet18")
    assert not encoder.training
    images = torch.rand(1, 3, 48, 48)
    with torch.inference_mode():
        assert torch.equal(encoder(images), network.encoder.eval()(images))
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    assert (checkpoint.head_kind, checkpoint.epoch) == (head, epoch)
    assert find_architecture(checkpoint.encoder) == "resnet18"


def test_another_architecture_is_refused_and_the_fitting_one_named(network, tmp_path):
    torch.save(network.encoder.state_dict(), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"does not fit resnet50 \(layer1.0.conv1.weight.*use --arch resnet18"):
        load_encoder(tmp_path / "a.pth")
    with pytest.raises(UserError, match="use --arch resnet18"):
        load_encoder(tmp_path / "a.pth", arch="resnet34")


class WritesAFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_file_that_runs_code_is_refused_and_runs_nothing(tmp_path):
    for save in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))):
        save({"model": WritesAFile(str(tmp_path / "harm"))}, tmp_path / "a.pth")
        with pytest.raises(UserError, match="unsafe"):
            load_encoder(tmp_path / "a.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "list", "other keys", "nan", "missing", "folder"])
def test_what_is_no_checkpoint_is_named(network, tmp_path, damage):
    path = tmp_path / "a.pth"
    state = network.encoder.state_dict()
    if damage == "empty":
        path.touch()
    elif damage == "text":
        path.write_text("weights\n" * 100)
    elif damage == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "list":
        torch.save([1, 2], path)
    elif damage == "other keys":
        torch.save({"weights": state, "name": "x"}, path)
    elif damage == "nan":
        torch.save(state | {"conv1.weight": state["conv1.weight"] * float("nan")}, path)
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(UserError) as caught:
        load_encoder(path, arch="resnet18")
    assert str(path) in str(caught.value) and len(str(caught.value)) < 600


def test_the_command_says_what_a_file_is_and_exports_the_encoder(network, tmp_path):
    torch.save(_formats(network)["MoCo"][0], tmp_path / "moco.pth.tar")
    command = [sys.executable, "-m", "networks.checkpoints"]
    out = tmp_path / "encoder.safetensors"
    done = subprocess.run([*command, tmp_path / "moco.pth.tar", "--export", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line.split()[-1] for line in done.stdout.splitlines()]
    assert said == ["MoCo", "resnet18", "mlp", "200", fingerprint(load_encoder(out, "resnet18").state_dict()), str(out)]
    assert "Warning" not in done.stderr
    images = torch.rand(1, 3, 48, 48)
    with torch.inference_mode():
        assert torch.equal(load_encoder(out, "resnet18")(images), network.encoder.eval()(images))
    refused = subprocess.run([*command, tmp_path / "none.pth"], capture_output=True, text=True)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1


def test_random_weights_differ_between_architectures_only_in_shape():
    assert find_architecture(build_encoder("resnet50").state_dict()) == "resnet50"
    assert find_architecture({"conv1.weight": torch.zeros(64, 3, 7, 7)}) is None
