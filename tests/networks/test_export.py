"""Exported scorers: torch's results at sizes they were not traced with, or no file at all."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.models.resnet import BasicBlock, ResNet

from networks import export, onnx_export
from networks.errors import UserError
from networks.names import LAYER4_MEAN, POOLINGS
from networks.opinion_mapping import OpinionMapping
from networks.pooling import pooled_size
from networks.regressor import LinearModel
from networks.scorer import QualityScorer, ScorerEncoder
from tests.images import photograph


def small_encoder() -> torch.nn.Module:
    """A ResNet with one block in each stage: half the operations of a ResNet-18."""
    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.fc = torch.nn.Identity()
    return network.eval().requires_grad_(False)


def small_scorer(pooling: str) -> QualityScorer:
    encoder = small_encoder()
    n_features = 2 * pooled_size(encoder, pooling)
    rng = np.random.default_rng(0)
    model = LinearModel(
        mean=rng.normal(0.5, 0.3, n_features),
        scale=rng.uniform(0.5, 2, n_features),
        weights=rng.normal(0, n_features**-0.5, n_features),
        intercept=0.3,
    )
    calibration = OpinionMapping("logistic", (90.0, 10.0, 0.2, 0.7))
    return QualityScorer([ScorerEncoder(encoder, True, pooling)], model, calibration)


def photographs() -> torch.Tensor:
    image = torch.from_numpy(photograph(150, 203)).permute(2, 0, 1)[None]
    return torch.cat([image, image.flip(3)]).float() / 255


@pytest.fixture
def packages():
    for package in onnx_export.PACKAGES:
        pytest.importorskip(package)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
def test_onnx_has_the_scorers_results(packages, tmp_path, pooling):
    module = small_scorer(pooling)
    module.about = {"scale": "0 to 1"}
    assert onnx_export.export_onnx(module, tmp_path / "a.onnx") <= 1e-5
    session = importlib.import_module("onnxruntime").InferenceSession(str(tmp_path / "a.onnx"))
    (image,), (score,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ("image", ["batch", 3, "height", "width"])
    assert score.name == "score" and score.shape[0] == "batch"
    assert session.get_modelmeta().custom_metadata_map["scale"] == "0 to 1"
    found, expected = onnx_export.run_onnx(tmp_path / "a.onnx")(photographs()), module(photographs())
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.slow
def test_a_file_with_other_results_is_not_kept(tmp_path, monkeypatch):
    """Without the packages of ONNX: the file is torch.export's."""
    scorer = small_scorer(LAYER4_MEAN)
    traced = torch.export.export(OffByALittle(scorer), (torch.rand(1, 3, 96, 128),))
    written = []

    class Program:
        model = SimpleNamespace(metadata_props={})

        def save(self, path):
            written.append(path)
            torch.export.save(traced, path)

    monkeypatch.setattr(onnx_export, "SIZES", ((1, 96, 128),))
    monkeypatch.setattr(onnx_export, "trace", lambda module: traced)
    monkeypatch.setattr(onnx_export, "run_onnx", lambda path: torch.export.load(path).module())
    monkeypatch.setattr(torch.onnx, "export", lambda *arguments, **options: Program())
    with pytest.raises(UserError, match=r"a.onnx was not written: for images of 128x96 its results would differ by"):
        onnx_export.export_onnx(scorer, tmp_path / "a.onnx")
    assert written and not list(tmp_path.iterdir())


class OffByALittle(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, images):
        return self.module(images) + 0.01


def test_missing_packages_and_wrong_endings_are_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(UserError, match=r"ONNX export needs onnx: pip install -r requirements-export.txt"):
        export.main(["--onnx", str(tmp_path / "a.onnx")])
    with pytest.raises(UserError, match=r"a.bin: the name must end in .onnx"):
        export.main(["--onnx", str(tmp_path / "a.bin")])
