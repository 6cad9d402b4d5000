"""Encoder and head: sizes, names, unit vectors."""

import pytest
import torch
import torchvision

from networks import ContrastiveNetwork, build_encoder
from networks.encoder import STAGES, feature_size, stage_maps
from networks.names import ARCHITECTURES
from networks.resnet import LAYERS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("arch, size", [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_features_are_torchvisions_pooled_values(arch, size):
    encoder = build_encoder(arch).eval()
    theirs = getattr(torchvision.models, arch)(weights=None).eval()
    theirs.load_state_dict(encoder.state_dict(), strict=False)
    pooled = []
    theirs.avgpool.register_forward_hook(lambda module, inputs, output: pooled.append(output.flatten(1)))
    images = torch.rand(2, 3, 40, 56)
    with torch.inference_mode():
        theirs(images)
        assert torch.equal(encoder(images), pooled[0])
    assert pooled[0].shape == (2, size) and feature_size(encoder) == size


@pytest.mark.parametrize("zero_init_residual", [False, True])
@pytest.mark.parametrize("arch", LAYERS)
def test_initial_weights_are_torchvisions_for_the_same_seed(arch, zero_init_residual):
    torch.manual_seed(3)
    encoder, after = build_encoder(arch, zero_init_residual), torch.rand(1)
    torch.manual_seed(3)
    theirs = getattr(torchvision.models, arch)(weights=None, zero_init_residual=zero_init_residual)
    assert torch.equal(after, torch.rand(1))  # the head's weights come next
    theirs.fc = torch.nn.Identity()
    expected = theirs.state_dict()
    assert list(encoder.state_dict()) == list(expected)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_a_backward_pass_is_torchvisions(arch):
    """One of each kind of block: the others have more of them."""
    torch.manual_seed(0)
    encoder = build_encoder(arch).double()
    theirs = getattr(torchvision.models, arch)(weights=None).double()
    theirs.fc = torch.nn.Identity()
    theirs.load_state_dict(encoder.state_dict())
    images = torch.rand(2, 3, 37, 50, dtype=torch.float64)
    for network in (encoder, theirs):
        network(images).square().sum().backward()
    for (name, ours), expected in zip(encoder.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(ours.grad, expected.grad), name


def test_names_are_the_released_ones():
    mlp = set(ContrastiveNetwork("resnet18", "mlp").state_dict())
    assert {"encoder.conv1.weight", "encoder.layer4.1.bn2.running_var", "head.0.weight", "head.2.bias"} <= mlp
    linear = {name for name in ContrastiveNetwork("resnet18", "linear").state_dict() if name.startswith("head")}
    assert linear == {"head.0.weight", "head.0.bias"}
    assert not any("fc" in name for name in mlp)


@pytest.mark.parametrize("arch, last", [("resnet18", "bn2"), ("resnet50", "bn3")])
def test_training_starts_with_blocks_that_are_their_shortcuts(arch, last):
    network = ContrastiveNetwork(arch, "mlp")
    for layer in (network.encoder.layer1, network.encoder.layer4):
        assert all(getattr(block, last).weight.abs().max() == 0 for block in layer)
    assert build_encoder(arch).layer1[0].get_submodule(last).weight.min() == 1


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_embeddings_are_unit_vectors(head):
    embeddings, level_logits = ContrastiveNetwork("resnet18", head, feat_dim=16)(torch.rand(3, 3, 32, 32))
    assert embeddings.shape == (3, 16) and torch.allclose(embeddings.norm(dim=1), torch.ones(3))
    assert level_logits.shape == (3, 0)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'resnet51'; one of " + ", ".join(ARCHITECTURES)):
        build_encoder("resnet51")
    with pytest.raises(ValueError, match="unknown head 'mpl'"):
        ContrastiveNetwork("resnet18", "mpl")


def test_hooks_on_the_stages_are_called():
    encoder = build_encoder("resnet18").eval()
    seen = []
    for name in STAGES:
        encoder.get_submodule(name).register_forward_hook(lambda module, inputs, output, name=name: seen.append(name))
    with torch.inference_mode():
        stage_maps(encoder, torch.rand(1, 3, 32, 32))
    assert seen == list(STAGES)
