"""EfficientNet-Lite0: torchvision's EfficientNet without its squeeze-and-excitation, under timm's names."""

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import EfficientNet
from torchvision.models.efficientnet import MBConvConfig

from networks import ContrastiveNetwork, load_encoder
from networks.checkpoint_formats import read_checkpoint
from networks.encoder import stage_channels, stage_maps
from networks.errors import UserError
from networks.features import fold_batchnorm
from tests.encoders import random_encoder

LITE0 = "efficientnet_lite0"


def torchvisions() -> nn.Module:
    """Table 1 of the paper in torchvision's terms, changed as the Lite networks are."""
    rows = [(1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3)]
    rows += [(6, 5, 1, 80, 112, 3), (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1)]
    settings = [MBConvConfig(*row, 1.0, 1.0) for row in rows]
    network = EfficientNet(settings, 0, stochastic_depth_prob=0, norm_layer=partial(nn.BatchNorm2d, eps=1e-3))
    network.classifier = nn.Identity()
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, name, nn.ReLU6())
            elif type(child).__name__ == "SqueezeExcitation":
                setattr(module, name, nn.Identity())
    return network.eval()


@pytest.fixture(scope="module")
def encoder():
    return random_encoder(LITE0)


def test_features_are_torchvisions(encoder):
    theirs = torchvisions()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), encoder.state_dict().values(), strict=True)))
    images = torch.rand(2, 3, 45, 70)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(images), theirs(images), rtol=1e-5, atol=1e-6)
        last = theirs.features(images)
        torch.testing.assert_close(stage_maps(encoder, images)[-1], last, rtol=1e-5, atol=1e-6)


def test_the_stages_are_the_maps_of_each_stride_and_the_last_convolution(encoder):
    with torch.inference_mode():
        maps = stage_maps(encoder, torch.rand(1, 3, 64, 96))
    assert [tuple(stage.shape[1:]) for stage in maps] == [
        (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3), (1280, 2, 3),
    ]  # fmt: skip
    assert stage_channels(encoder) == stage_channels(fold_batchnorm(encoder)) == (24, 40, 112, 320, 1280)


def test_layers_have_timms_names(encoder):
    names = set(encoder.state_dict())
    assert {"conv_stem.weight", "bn1.bias", "conv_head.weight", "bn2.weight"} <= names
    assert {"blocks.0.0.conv_dw.weight", "blocks.0.0.conv_pw.weight", "blocks.0.0.bn2.weight"} <= names
    assert {"blocks.1.1.conv_pw.weight", "blocks.1.1.conv_pwl.weight", "blocks.1.1.bn3.weight"} <= names


@pytest.mark.parametrize("prefix", ["", "module.encoder."])
def test_its_checkpoints_are_read(encoder, tmp_path, prefix):
    state = {prefix + name: value for name, value in encoder.state_dict().items()}
    torch.save({"model": state | {f"{prefix}classifier.weight": torch.rand(10, 1280)}}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").architecture == LITE0
    images = torch.rand(1, 3, 40, 40)
    with torch.inference_mode():
        assert torch.equal(load_encoder(tmp_path / "a.pth")(images), encoder(images))
    with pytest.raises(UserError, match=f"does not fit resnet50 .*use --arch {LITE0}"):
        load_encoder(tmp_path / "a.pth", "resnet50")


def test_a_missing_layer_is_named(encoder, tmp_path):
    state = {name: value for name, value in encoder.state_dict().items() if not name.startswith("blocks.3.1.conv_dw")}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"any known architecture \(blocks.3.1.conv_dw.weight: missing in the file"):
        load_encoder(tmp_path / "a.pth")


def test_it_can_be_trained():
    torch.manual_seed(0)
    network = ContrastiveNetwork(LITE0, "mlp", 16)
    embeddings, _ = network(torch.rand(4, 3, 64, 64))
    assert embeddings.shape == (4, 16)
    embeddings.sum().backward()
    assert all(parameter.grad is not None for parameter in network.encoder.parameters())
