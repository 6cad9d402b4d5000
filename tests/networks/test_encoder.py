"""Encoder and head: sizes, names, unit vectors."""

import pytest
import torch
import torchvision

from networks import ARCHITECTURES, ContrastiveNetwork, build_encoder, feature_size


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


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("zero_init_residual", [False, True])
def test_one_seed_gives_torchvisions_weights_and_random_state(arch, zero_init_residual):
    torch.manual_seed(3)
    theirs = getattr(torchvision.models, arch)(weights=None, zero_init_residual=zero_init_residual).state_dict()
    next_theirs = torch.rand(1)
    torch.manual_seed(3)
    ours = build_encoder(arch, zero_init_residual).state_dict()
    assert torch.equal(torch.rand(1), next_theirs)
    assert [name for name in theirs if not name.startswith("fc.")] == list(ours)
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())


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
    embeddings = ContrastiveNetwork("resnet18", head, feat_dim=16)(torch.rand(3, 3, 32, 32))
    assert embeddings.shape == (3, 16) and torch.allclose(embeddings.norm(dim=1), torch.ones(3))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'resnet51'; one of " + ", ".join(ARCHITECTURES)):
        build_encoder("resnet51")
    with pytest.raises(ValueError, match="unknown head 'mpl'"):
        ContrastiveNetwork("resnet18", "mpl")
