"""Features: the plain network's numbers, both scales, normalisation for the content-aware encoder only."""

import numpy as np
import pytest
import torch
import torchvision

from datasets.images.resampling import half_size_exactly
from networks.features import FeatureExtractor, fold_batchnorm
from tests.encoders import random_encoder
from tests.images import photograph

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder():
    return random_encoder("resnet50")


def plain_features(encoder, image, normalized):
    network = torchvision.models.resnet50(weights=None).eval()
    network.load_state_dict(encoder.state_dict(), strict=False)
    network.fc = torch.nn.Identity()
    batch = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    if normalized:
        batch = torchvision.transforms.functional.normalize(batch, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        return network(batch)


@pytest.mark.slow
@pytest.mark.parametrize("normalized", [False, True])
def test_equal_the_plain_networks_at_both_scales(encoder, normalized):
    images = np.stack([photograph(97, 130, top=60 + 20 * i) for i in range(2)])
    halves = np.stack([half_size_exactly(image) for image in images])
    extractor = FeatureExtractor(encoder, normalized, CPU)
    features = torch.cat([extractor(torch.from_numpy(scale)) for scale in (images, halves)], dim=1)
    assert features.shape == (2, 4096) and features.dtype == torch.float32
    for row, image, half in zip(features, images, halves, strict=True):
        expected = torch.cat([plain_features(encoder, scaled, normalized) for scaled in (image, half)], dim=1)
        assert (row - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_mixed_precision_is_within_a_few_percent(encoder):
    image = torch.from_numpy(photograph(96, 128))[None]
    exact = FeatureExtractor(encoder, False, CPU)(image)
    mixed = FeatureExtractor(encoder, False, CPU, amp=True)(image)
    assert mixed.dtype == torch.float32
    assert (mixed - exact).norm() < 0.03 * exact.norm()


def test_folding_leaves_no_batchnorm_and_the_original_alone(encoder):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    folded = fold_batchnorm(encoder)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("enabled, deterministic", [(True, True), (True, False), (False, False)])
def test_only_tensorfloat_32_is_switched_off(encoder, monkeypatch, enabled, deterministic):
    seen = []
    settings = torch.backends.cudnn
    extractor = FeatureExtractor(encoder, False, CPU)
    monkeypatch.setattr(extractor, "_prepared", lambda images: seen.append(current()) or torch.zeros(1, 3, 32, 32))

    def current():
        return settings.enabled, settings.deterministic, settings.allow_tf32

    with settings.flags(enabled, False, None, deterministic, True):
        extractor(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
        assert current() == (enabled, deterministic, True), "afterwards it is as it was"
    assert seen == [(enabled, deterministic, False)]
