"""A regressor file and checkpoints as one module, from Python and from torch.hub."""

import numpy as np
import pytest
import torch

from datasets.images.resampling import half_size_exactly
from learning.regression.fit.search import fit
from learning.regression.model.description import Hyperparameters, RegressorDescription
from learning.regression.model.files import save_regressor
from networks import build_encoder, embedded, load_scorer
from networks.checkpoint_formats import fingerprint
from networks.errors import UserError
from networks.features import FeatureExtractor
from networks.names import LAYER4_MEAN, STAGES_DIFFERENCES
from networks.opinion_mapping import OpinionMapping
from networks.pooling import identity
from networks.regressor import ScoringDescription, load_regressor
from tests.images import photograph

CPU = torch.device("cpu")
KINDS = ("quality_aware", "content_aware")


def write_model(folder, kinds, standardized, pooling=LAYER4_MEAN):
    """Checkpoints and a regressor fitted on features of noise; returns paths of the regressor and the checkpoints."""
    extractors, paths, encoders = [], {}, {}
    for seed, kind in enumerate(kinds):
        torch.manual_seed(seed)
        network = build_encoder("resnet18").eval()
        paths[kind] = folder / f"{kind}.pth"
        torch.save(network.state_dict(), paths[kind])
        encoders[kind] = identity(fingerprint(network.state_dict()), pooling)
        extractors.append(FeatureExtractor(network, kind == "content_aware", CPU, pooling=pooling))
    rng = np.random.default_rng(0)
    n_features = sum(2 * extractor.n_features for extractor in extractors)
    features = rng.uniform(0, 2, (40, n_features)).astype(np.float32)
    fitted = fit(features, rng.uniform(0, 100, 40), Hyperparameters("ridge", standardized, 10.0))
    calibration = OpinionMapping("logistic", (95.0, 5.0, 50.0, 20.0))
    save_regressor(folder / "r.skops", fitted, RegressorDescription(tuple(kinds), encoders, calibration, (0, 100)))
    return folder / "r.skops", paths, extractors


@pytest.mark.parametrize(
    "kinds, standardized, pooling",
    [(KINDS, True, LAYER4_MEAN), (KINDS[:1], False, LAYER4_MEAN), (KINDS[:1], True, STAGES_DIFFERENCES)],
)
def test_it_has_the_scores_of_the_regressor(tmp_path, kinds, standardized, pooling):
    regressor, checkpoints, extractors = write_model(tmp_path, kinds, standardized, pooling)
    image = photograph(96, 128)
    full, half = (torch.from_numpy(one)[None] for one in (image, half_size_exactly(image)))
    features = torch.cat([extractor.at_two_scales(full, half) for extractor in extractors], dim=1)
    expected = load_regressor(regressor, ScoringDescription).predict(features.numpy())
    scorer = load_scorer(str(regressor), checkpoints)
    with torch.no_grad():
        found = scorer(torch.from_numpy(image).permute(2, 0, 1)[None] / 255).numpy()
    assert np.abs(found - expected).max() < 1e-4 * 100


def test_a_checkpoint_is_needed_and_must_be_the_regressors(tmp_path):
    regressor, checkpoints, _ = write_model(tmp_path, KINDS, True)
    with pytest.raises(UserError, match="takes content_aware features: name the checkpoint"):
        load_scorer(regressor, {"quality_aware": checkpoints["quality_aware"]})
    with pytest.raises(UserError, match="fitted on content_aware features of encoder"):
        load_scorer(regressor, dict.fromkeys(KINDS, checkpoints["quality_aware"]))


@pytest.fixture
def hub():
    """The project as torch.hub loads it."""
    root = str(embedded.MODELS.parent)
    return lambda entry, **options: torch.hub.load(root, entry, source="local", trust_repo=True, **options)


def test_torch_hub_gives_scorer_and_encoders(tmp_path, hub):
    regressor, checkpoints, _ = write_model(tmp_path, KINDS, True)
    images = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        scores = hub(
            "re_iqa",
            regressor=regressor,
            quality_checkpoint=checkpoints["quality_aware"],
            content_checkpoint=checkpoints["content_aware"],
        )(images)
        assert torch.equal(scores, load_scorer(regressor, checkpoints)(images))
        for kind in KINDS:
            assert hub(f"{kind}_encoder", checkpoint=checkpoints[kind])(images).shape == (2, 512)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder for an embedded model in place of the project's."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(embedded, "REGRESSOR", folder / "r.safetensors")
    monkeypatch.setattr(embedded, "ENCODERS", {kind: folder / f"{kind}.pth" for kind in KINDS})
    return folder


def test_the_embedded_model_is_the_default(models, hub):
    write_model(models, KINDS[:1], True, STAGES_DIFFERENCES)
    with torch.no_grad():
        assert hub("re_iqa")(torch.rand(1, 3, 48, 64)).shape == (1,)
        assert hub("quality_aware_encoder")(torch.rand(1, 3, 48, 64)).shape == (1, 512)


def test_a_missing_embedded_model_is_a_sentence(models, hub):
    with pytest.raises(UserError, match=r"contains no embedded model .*name a regressor"):
        hub("re_iqa")
    with pytest.raises(UserError, match=r"contains no embedded content-aware encoder .*name a checkpoint instead"):
        hub("content_aware_encoder")
