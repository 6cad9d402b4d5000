"""Pooling of all stages: numpy's numbers from the maps of torchvision's network."""

import numpy as np
import pytest
import torch
import torchvision

from networks.checkpoint_formats import fingerprint
from networks.features import FeatureExtractor
from networks.names import POOLINGS, STAGES_DIFFERENCES, STAGES_MEAN_STD
from networks.pooling import StagesDifferences, StagesMeanStd, window_means
from tests.images import photograph

CPU = torch.device("cpu")


def mean_and_std(maps):
    return maps.mean((2, 3)), maps.std((2, 3))


def log_differences(maps):
    """numpy's weighted averages in float64; the weights fall with the distance from the middle."""
    maps = maps.astype(np.float64)
    averages = []
    for d in (np.diff(maps, axis=3), np.diff(maps, axis=2)):
        rows, columns = (np.exp(-((((np.arange(n) + 0.5) / n - 0.5) / 0.3) ** 2) / 2) for n in d.shape[2:])
        weights = np.outer(rows, columns).ravel()
        flat = d.reshape(*d.shape[:2], -1)
        none = np.zeros(d.shape[:2])
        averages.append([np.average(v, axis=2, weights=weights) if v.size else none for v in (abs(flat), flat**2)])
    means, squares = np.mean(averages, axis=0)
    return np.log(means + 0.003), np.log(np.sqrt(squares + 0.003**2))


@pytest.mark.parametrize("pooling, by_numpy", [(STAGES_MEAN_STD, mean_and_std), (STAGES_DIFFERENCES, log_differences)])
def test_all_stages_are_pooled_as_by_numpy(pooling, by_numpy):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    maps = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(lambda module, inputs, output: maps.append(output.numpy()))
    image = photograph(32, 90)
    with torch.no_grad():
        network(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    expected = np.concatenate([values for stage in maps for values in by_numpy(stage)], axis=1)
    network.fc = torch.nn.Identity()
    extractor = FeatureExtractor(network, False, CPU, pooling=pooling)
    features = extractor(torch.from_numpy(image)[None]).numpy()
    assert features.shape == (1, 1920)
    # A float32 error of 1e-6 in a value near the floor is one of 3e-4 in its logarithm.
    tolerance = 1e-5 if pooling == STAGES_MEAN_STD else 1e-4
    assert np.abs(features - expected).max() <= tolerance * np.abs(expected).max()
    assert extractor.identity == f"{fingerprint(network.state_dict())}:{pooling}"
    of_one_value = extractor(torch.from_numpy(image[:32, :32])[None])[0, -512:]  # the last stage's maps are 1 x 1
    lowest = 0 if pooling == STAGES_MEAN_STD else np.log(0.003)
    assert of_one_value.tolist() == pytest.approx([lowest] * 512)


@pytest.mark.parametrize("pooling", [StagesMeanStd, StagesDifferences])
def test_a_sum_by_place_has_the_mean_of_the_sum_and_rises_where_a_map_does(pooling):
    module = pooling(torch.nn.Identity())
    maps = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.3, -0.7]]).double()
    total = sum(values @ weight for values, weight in zip(module.pool(maps), weights, strict=True))
    assert torch.allclose(module.local_sum(maps, *weights).mean(dim=(1, 2)), total)
    maps[0, :, 2, 3] += 1
    of_means = module.local_sum(maps, torch.ones(3).double(), torch.zeros(3).double())
    assert of_means[0].argmax() == 2 * 9 + 3


@pytest.mark.parametrize("height, width", [(1, 1), (1, 5), (6, 1)])
def test_maps_of_one_row_or_column_have_a_sum_by_place_too(height, width):
    maps = torch.rand(2, 3, height, width)
    places = StagesDifferences(torch.nn.Identity()).local_sum(maps, torch.ones(3), torch.ones(3))
    assert places.shape == (2, height, width) and places.isfinite().all()


def test_means_around_a_place_are_those_of_its_window():
    """Windows of 3 x 3 places, cut at the border; the last column repeats its neighbour, which has one more."""
    d = torch.rand(1, 1, 24, 23, generator=torch.Generator().manual_seed(0)) - 0.5
    means, squares = window_means(d, (24, 24))
    assert means[0, 0, 5, 7] == pytest.approx(float(d[0, 0, 4:7, 6:9].abs().mean()))
    assert squares[0, 0, 0, 0] == pytest.approx(float(d[0, 0, :2, :2].square().mean()))
    assert torch.equal(means[..., 23], means[..., 22])


def test_an_unknown_pooling_is_refused():
    network = torchvision.models.resnet18(weights=None)
    with pytest.raises(ValueError, match=f"unknown pooling 'max'; one of {', '.join(POOLINGS)}"):
        FeatureExtractor(network, False, CPU, pooling="max")
