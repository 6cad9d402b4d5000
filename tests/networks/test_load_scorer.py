"""A regressor file and checkpoints as one module, from Python and from torch.hub."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.images.resampling import half_size_exactly
from learning.regression.fit.search import fit
from learning.regression.model.description import Hyperparameters, RegressorDescription
from learning.regression.model.files import save_regressor
from networks import build_encoder, embedded, load_scorer
from networks.checkpoint_formats import fingerprint
from networks.errors import UserError
from networks.features import FeatureExtractor
from networks.names import EMBEDDED_MODELS, LAYER4_MEAN, STAGES_DIFFERENCES, VERSION
from networks.opinion_mapping import OpinionMapping
from networks.pooling import identity, pooled_size
from networks.regressor import ScoringDescription, load_regressor
from tests.images import photograph

CPU = torch.device("cpu")
KINDS = ("quality_aware", "content_aware")


def write_model(folder, kinds, standardized, pooling=LAYER4_MEAN):
    """Checkpoints and a regressor fitted on features of noise; returns paths of the regressor and the checkpoints."""
    extractors, paths, encoders, n_features = [], {}, {}, 0
    for seed, kind in enumerate(kinds):
        torch.manual_seed(seed)
        network = build_encoder("resnet18").eval()
        paths[kind] = folder / f"{kind}.pth"
        torch.save(network.state_dict(), paths[kind])
        encoders[kind] = identity(fingerprint(network.state_dict()), pooling)
        n_features += 2 * pooled_size(network, pooling)
        extractors.append(FeatureExtractor(network, kind == "content_aware", CPU, pooling=pooling))
    rng = np.random.default_rng(0)
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
    features = torch.cat([extractor(scale) for extractor in extractors for scale in (full, half)], dim=1)
    expected = load_regressor(regressor, ScoringDescription).predict(features.numpy())
    scorer = load_scorer(str(regressor), checkpoints)
    with torch.no_grad():
        found = scorer(torch.from_numpy(image).permute(2, 0, 1)[None] / 255).numpy()
    assert np.abs(found - expected).max() < 1e-4 * 100


def test_a_checkpoint_is_needed_and_must_be_the_regressors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without re-iqa_ckpts
    regressor, checkpoints, _ = write_model(tmp_path, KINDS, True)
    wanted = load_regressor(regressor, ScoringDescription).description.encoders["content_aware"]
    sentence = (
        f"r.skops takes content_aware features of the encoder {wanted[:12]}.*name its checkpoint by --content_ckpt"
    )
    with pytest.raises(UserError, match=sentence):
        load_scorer(regressor, {"quality_aware": checkpoints["quality_aware"]})
    with pytest.raises(UserError, match="checkpoints are of quality_aware and content_aware, not of quality"):
        load_scorer(regressor, {"quality": checkpoints["quality_aware"]})
    with pytest.raises(UserError, match="fitted on content_aware features of encoder"):
        load_scorer(regressor, dict.fromkeys(KINDS, checkpoints["quality_aware"]))
    (tmp_path / "re-iqa_ckpts").mkdir()
    checkpoints["content_aware"].rename("re-iqa_ckpts/content_aware_r50.pth")
    assert load_scorer(regressor, {"quality_aware": checkpoints["quality_aware"]}).sizes == (512, 512)


def test_a_regressor_on_embedded_features_finds_their_encoders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "re-iqa_ckpts").mkdir()
    (tmp_path / "re-iqa_ckpts/quality_aware_r50.pth").write_bytes(b"of another regressor")
    for ending in (".safetensors", ".json"):
        (tmp_path / f"mine{ending}").write_bytes(embedded.embedded_regressor().with_suffix(ending).read_bytes())
    images = torch.rand(1, 3, 64, 80)
    with torch.no_grad():
        assert torch.equal(load_scorer("mine.skops")(images), load_scorer()(images))


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


def test_the_embedded_models_are_scorers(hub):
    images = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        scores = {name: hub("re_iqa", name=name)(images).item() for name in EMBEDDED_MODELS}
        assert hub("re_iqa")(images).item() == scores[EMBEDDED_MODELS[0]]
        assert hub("quality_aware_encoder")(images).shape == (1, 512)
        assert hub("content_aware_encoder")(images).shape == (1, 1280)
    assert len(set(scores.values())) == len(EMBEDDED_MODELS)


def test_an_embedded_scorer_says_what_it_is():
    about = load_scorer().about
    assert about["model"] == f"embedded model {EMBEDDED_MODELS[0]}, version {VERSION}" and about["version"] == VERSION
    assert about["scale"] == "opinions of the fit go from 4.344 to 92.43; higher is better"
    digest = hashlib.sha256(embedded.embedded_regressor().read_bytes()).hexdigest()
    assert about["fingerprint"].startswith(f"regressor {digest[:12]}, quality_aware ")
    assert "Apache-2.0" in about["licence"]


def test_a_regressor_of_ones_own_has_no_licence_of_ours(tmp_path):
    regressor, checkpoints, _ = write_model(tmp_path, KINDS, True)
    about = load_scorer(regressor, checkpoints).about
    assert about["model"] == "regressor r" and "licence" not in about


def test_what_is_no_path_is_refused_by_its_type():
    for image in (b"\xff\xd8" + bytes(1000), Image.new("RGB", (8, 8))):
        with pytest.raises(TypeError, match=r"takes the path of an image file, not (bytes|Image); save the image"):
            load_scorer().score(image)


def test_an_image_file_has_the_score_of_its_upright_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    Image.fromarray(photograph(48, 64)).save(tmp_path / "a.png", exif=exif)
    upright = np.rot90(photograph(48, 64), -1).copy()
    scorer = load_scorer()
    with torch.no_grad():
        expected = scorer(torch.from_numpy(upright).permute(2, 0, 1)[None] / 255).item()
    assert scorer.score(tmp_path / "a.png") == pytest.approx(expected, abs=1e-4)
    large = Image.fromarray(photograph(300, 800))
    large.save(tmp_path / "large.png")
    large.thumbnail((512, 512), Image.Resampling.BICUBIC, reducing_gap=None)
    large.save(tmp_path / "small.png")
    assert scorer.score(tmp_path / "large.png") == scorer.score(tmp_path / "small.png"), "reduced as the fit's images"
    (tmp_path / "b.jpg").write_text("no photograph")
    with pytest.raises(UserError, match=r"image .*b.jpg cannot be read: it is not an image"):
        scorer.score(str(tmp_path / "b.jpg"))


def test_a_missing_embedded_model_is_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=f"no embedded model 'tid2013'; the models are {', '.join(EMBEDDED_MODELS)}"):
        load_scorer(model="tid2013")
    monkeypatch.setattr(embedded, "MODELS", tmp_path)
    with pytest.raises(UserError, match=r"clive.safetensors and clive.json do not exist"):
        load_scorer()


AMONG_OTHERS = """
import multiprocessing, pickle, sys
import common, networks, learning
import torch

def score(scorer, images):
    return float(scorer(images).detach())

if __name__ == "__main__":
    before = set(sys.modules)
    scorer = torch.hub.load(sys.argv[1], "re_iqa", source="local", trust_repo=True)
    new = {name: module for name, module in sys.modules.items() if name not in before}
    files = {name: getattr(module, "__file__", None) or "" for name, module in new.items()}
    ours = {name.split(".")[0] for name, file in files.items() if sys.argv[1] in file and "site-packages" not in file}
    assert ours <= {"re_iqa", "hubconf"}, ours
    assert all(package.MINE for package in (common, networks, learning))
    images = torch.rand(1, 3, 48, 64)
    expected = score(scorer, images)
    assert score(pickle.loads(pickle.dumps(scorer)), images) == expected
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert abs(pool.apply(score, (scorer, images)) - expected) < 1e-3
    print("right")
"""


@pytest.mark.processes
def test_torch_hub_leaves_packages_of_the_same_names_alone(tmp_path):
    """A process that has packages networks, common and learning keeps them, and its workers can hold the scorer."""
    for name in ("common", "networks", "learning"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True")
    (tmp_path / "main.py").write_text(AMONG_OTHERS)
    command = [sys.executable, "main.py", str(embedded.MODELS.parent)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and result.stdout.strip() == "right", result.stderr
