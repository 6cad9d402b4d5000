"""Features computed in strips of rows: those of the complete image, whatever the strips."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import features
from networks.features import FeatureExtractor, fold_batchnorm
from networks.names import POOLINGS, STAGES_DIFFERENCES, STAGES_MEAN_STD
from networks.pooling import pooled_network
from networks.strips import StripNetwork, _Moments
from tests.encoders import random_encoder
from tests.images import noise_image

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TOLERANCE = 1e-5
TOLERANCES = dict.fromkeys(POOLINGS, TOLERANCE) | {STAGES_DIFFERENCES: 1e-4}  # of logarithms


@pytest.fixture(scope="module")
def encoders():
    return {arch: random_encoder(arch) for arch in ("resnet18", "resnet50", "efficientnet_lite0")}


def in_strips(encoder, pooling, images, heights):
    network = StripNetwork(encoder, pooling)
    strips = images.split(heights, dim=2)
    for position, strip in enumerate(strips, start=1):
        network.add(strip, last=position == len(strips))
    return network.features()


def difference(found, expected):
    """The largest, in units of the largest feature."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "efficientnet_lite0"])
@pytest.mark.parametrize("height, width, rows", [(97, 131, 16), (200, 35, 33), (1, 1, 7), (9, 64, 1), (70, 70, 100)])
@torch.inference_mode()
def test_equal_those_of_the_complete_image(encoders, arch, pooling, height, width, rows):
    images = torch.from_numpy(noise_image(height, width)).permute(2, 0, 1)[None] / 255
    for encoder in (encoders[arch], fold_batchnorm(encoders[arch])):
        expected = pooled_network(encoders[arch], pooling)(images)
        assert difference(in_strips(encoder, pooling, images, rows), expected) < TOLERANCES[pooling]


@settings(max_examples=25, deadline=None)
@given(heights=st.lists(st.integers(1, 70), min_size=1, max_size=6), width=st.integers(1, 60))
@torch.inference_mode()
def test_any_division_into_strips_will_do(encoders, heights, width):
    encoder = encoders["resnet18"]
    images = torch.from_numpy(noise_image(sum(heights), width)).permute(2, 0, 1)[None] / 255
    for pooling in (STAGES_MEAN_STD, STAGES_DIFFERENCES):
        expected = pooled_network(encoder, pooling)(images)
        assert difference(in_strips(encoder, pooling, images, heights), expected) < TOLERANCES[pooling]


@torch.inference_mode()
def test_moments_are_those_of_numpy_far_from_zero():
    """Sums of squares would lose the deviations of values beside a large mean."""
    values = 1000 + torch.rand(1, 3, 90, 40, generator=torch.Generator().manual_seed(0))
    moments = _Moments()
    for rows in values.split(7, dim=2):
        moments.add(rows)
    means, deviations = moments.values()
    exact = values.double().numpy()
    assert np.abs(means.numpy() - exact.mean((2, 3))).max() < 1e-4
    assert np.abs(deviations.numpy() / exact.std((2, 3)) - 1).max() < 1e-4


@pytest.mark.parametrize("amp, tolerance", [(False, TOLERANCE), (True, 1e-2)])
@pytest.mark.parametrize("normalized", [False, True])
def test_the_extractor_computes_large_images_in_strips(encoders, monkeypatch, amp, tolerance, normalized):
    images = torch.from_numpy(np.stack([noise_image(150, 101, seed) for seed in range(2)]))
    extractor = FeatureExtractor(encoders["resnet18"], normalized, CPU, amp=amp)
    expected = extractor(images)
    monkeypatch.setattr(features, "LARGEST_AT_ONCE", 150 * 101)
    assert torch.equal(extractor(images), expected)  # not larger than that
    monkeypatch.setattr(features, "LARGEST_AT_ONCE", 1000)
    monkeypatch.setattr(features, "STRIP_PIXELS", 20 * 101)
    found = extractor(images)
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    assert difference(found, expected) < tolerance
