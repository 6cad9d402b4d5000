"""The scorer: its sum, its gradient, its map of local quality, and independence of the batch."""

import numpy as np
import pytest
import torch

from datasets.images.resampling import half_size_exactly
from networks import build_encoder
from networks.features import FeatureExtractor
from networks.names import LAYER4_MEAN, POOLINGS
from networks.opinion_mapping import IDENTITY, OpinionMapping
from networks.pooling import pooled_size
from networks.regressor import LinearModel
from networks.scorer import QualityScorer, ScorerEncoder
from tests.images import photograph

CPU = torch.device("cpu")
LOGISTIC = OpinionMapping("logistic", (90.0, 10.0, 0.2, 0.7))


def trained_encoder(seed: int) -> torch.nn.Module:
    """Random weights whose BatchNorm statistics are those of some images."""
    torch.manual_seed(seed)
    encoder = build_encoder("resnet18").train()
    with torch.no_grad():
        for _ in range(3):
            encoder(torch.rand(2, 3, 64, 64))
    return encoder.eval()


def random_model(n_features: int) -> LinearModel:
    rng = np.random.default_rng(0)
    return LinearModel(
        mean=rng.normal(0.5, 0.3, n_features),
        scale=rng.uniform(0.5, 2, n_features),
        weights=rng.normal(0, n_features**-0.5, n_features),
        intercept=0.3,
    )


@pytest.fixture(scope="module")
def encoders():
    return trained_encoder(0), trained_encoder(1)


@pytest.fixture(scope="module", params=POOLINGS)
def pooling(request):
    return request.param


@pytest.fixture(scope="module")
def scorer(pooling, encoders):
    """A quality-aware encoder with the pooling, and a content-aware one with the released pooling."""
    quality, content = encoders
    pooled = pooled_size(quality, pooling) + pooled_size(content, LAYER4_MEAN)
    parts = [ScorerEncoder(quality, False, pooling), ScorerEncoder(content, True)]
    return QualityScorer(parts, random_model(2 * pooled), LOGISTIC)


def to_tensor(*images: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images])


@pytest.mark.parametrize("height, width", [(96, 128), (97, 131)])
def test_it_has_the_scores_of_extraction_and_regressor(scorer, encoders, pooling, height, width):
    """The reference: features as extracted to files, and the regressor in float64."""
    image = photograph(height, width)
    full, half = (torch.from_numpy(one)[None] for one in (image, half_size_exactly(image)))
    extractors = [
        FeatureExtractor(encoders[0], False, CPU, pooling=pooling),
        FeatureExtractor(encoders[1], True, CPU),
    ]
    features = (
        torch.cat([extractor(scale) for extractor in extractors for scale in (full, half)], dim=1).double().numpy()
    )
    model = random_model(features.shape[1])
    total = model.intercept + ((features - model.mean) / model.scale) @ model.weights
    b1, b2, b3, b4 = LOGISTIC.parameters
    expected = b2 + (b1 - b2) / (1 + np.exp(-(total - b3) / b4))
    with torch.no_grad():
        found = scorer(to_tensor(image)).numpy()
    assert found.shape == (1,) and np.abs(found - expected).max() < 1e-4 * (b1 - b2)


def test_a_score_does_not_depend_on_the_batch(scorer):
    images = to_tensor(*(photograph(64, 80, top=60 + 20 * i) for i in range(3)))
    with torch.no_grad():
        together = scorer(images)
        alone = torch.cat([scorer(image[None]) for image in images])
    assert (together - alone).abs().max() < 1e-5 * 80
    scorer.train()
    with torch.no_grad():
        assert (scorer(images) - together).abs().max() < 1e-6 * 80


def test_the_map_adds_up_to_the_sum(scorer, pooling):
    """The mean of the map is the linear sum, and the sum is what the calibration maps to the score."""
    images = to_tensor(photograph(96, 128), photograph(96, 128, top=160))
    with torch.no_grad():
        quality = scorer.local_quality(images)
        sums = scorer.linear_sum(scorer.features(images))
        assert torch.equal(scorer.calibration(sums), scorer(images))
    finest = (3, 4) if pooling == LAYER4_MEAN else (24, 32)
    assert quality.shape == (2, *finest)
    assert (quality.mean(dim=(1, 2)) - sums).abs().max() < 1e-4 * quality.std()


def test_the_map_shows_where_features_are(encoders):
    """A change in one corner of the image changes the map there, and hardly elsewhere."""
    network = encoders[0]
    scorer = QualityScorer([ScorerEncoder(network, False)], random_model(1024))
    plain, changed = (to_tensor(photograph(256, 256)) for _ in range(2))
    changed[..., :64, :64] = 0.5
    with torch.no_grad():
        difference = (scorer.local_quality(changed) - scorer.local_quality(plain)).abs()[0]
    assert difference.shape == (8, 8)
    assert difference[:2, :2].mean() > 5 * difference[6:, 6:].mean()


def test_it_has_the_right_gradient(pooling):
    """In float64, on a small network whose activations have no kinks near the images."""
    torch.manual_seed(0)
    encoder = build_encoder("resnet18").eval()
    model = random_model(2 * pooled_size(encoder, pooling))
    curve = OpinionMapping("logistic", (3.0, 0.5, 0.1, 2.0))
    scorer = QualityScorer([ScorerEncoder(encoder, True, pooling)], model, curve).double()
    images = (0.2 + 0.6 * torch.rand(1, 3, 20, 18, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(scorer, (images,), eps=1e-7, atol=1e-5, rtol=1e-3, fast_mode=True)


def test_it_serves_as_a_loss():
    """Steps along the gradient raise the score; the weights stay as they are."""
    scorer = QualityScorer([ScorerEncoder(trained_encoder(0), False)], random_model(1024))
    images = to_tensor(photograph(64, 64)).requires_grad_()
    before = scorer(images)
    before.sum().backward()
    assert all(not parameter.requires_grad for parameter in scorer.parameters())
    step = 1e-3 * images.grad / images.grad.abs().max()
    with torch.no_grad():
        assert scorer(images + step) > before


@pytest.mark.slow
def test_values_a_little_outside_are_scored_and_a_traced_scorer_has_no_check(encoders):
    """An optimiser's step leads a little outside [0, 1]; a check of values cannot be part of an exported program."""
    scorer = QualityScorer([ScorerEncoder(encoders[0], False)], random_model(1024))
    images = 1.1 * to_tensor(photograph(64, 64)) - 0.02
    assert images.min() < 0 and torch.isfinite(scorer(images)).all()
    for traced in (
        torch.compile(scorer, backend="eager", fullgraph=True),
        torch.jit.trace(scorer, images),
        lambda images: torch.func.vmap(scorer)(images[None])[0],
    ):
        assert (traced(images) - scorer(images)).abs().max() < 1e-4
        assert traced(255 * images).shape == (1,)


@pytest.mark.parametrize(
    "calibration, expected",
    [
        (IDENTITY, 0.5),
        (OpinionMapping("linear", (1.0, 2.0)), 2.0),
        (OpinionMapping("logistic", (5.0, 1.0, 0.5, -2.0)), 3.0),
    ],
)
def test_curves_of_tensors_and_of_arrays(calibration, expected):
    assert calibration(torch.tensor([0.5])).item() == pytest.approx(expected)
    assert calibration(np.array([0.5])).item() == pytest.approx(expected)
    x = np.linspace(-800, 900, 50)
    assert calibration(x) == pytest.approx(calibration(torch.from_numpy(x)).numpy(), rel=1e-12, abs=1e-12)


def test_wrong_input_is_named(encoders):
    scorer = QualityScorer([ScorerEncoder(encoders[0], False)], random_model(1024))
    with pytest.raises(ValueError, match=r"not torch.uint8 \(1, 3, 8, 8\); .*8-bit images are to be divided by 255"):
        scorer(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(3, 8, 8\)"):
        scorer(torch.zeros(3, 8, 8))
    for images, found in (
        (torch.full((1, 3, 8, 8), 200.0), r"have values from 200 to 200, not in \[0, 1\]: divide 8-bit values by 255"),
        (torch.linspace(-1, 1, 192).view(1, 3, 8, 8), r"have values from -1 to 1, .* do not normalise"),
        (torch.full((1, 3, 8, 8), torch.nan), "contain NaN"),
    ):
        for method in (scorer, scorer.local_quality):
            with pytest.raises(ValueError, match=found):
                method(images)
    with pytest.raises(ValueError, match=r"1024 features at two scales, the model's mean has the shape \(1000,\)"):
        QualityScorer([ScorerEncoder(encoders[0], False)], random_model(1000))
    with pytest.raises(ValueError, match="unknown curve 'cubic'"):
        OpinionMapping("cubic", (1.0, 2.0))
