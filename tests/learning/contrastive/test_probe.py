"""The probe: its metrics against an independent calculation, and a best checkpoint that survives a kill."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from learning.contrastive import probe as probes
from learning.contrastive.probe import Probe, ProbeSet
from learning.contrastive.training_log import Measurement
from learning.contrastive.training_state import Position
from learning.distributed.environment import ProcessContext
from networks.checkpoint_formats import load_encoder
from networks.errors import UserError
from options.contrast import parse_contrast_options
from tests.images import write_labelled, write_training_set
from tests.runs import assert_same_training, checkpoint, run_folder, scalars, train_here

CPU = torch.device("cpu")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks")]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("labelled") / "set")


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"), n_images=10)


@pytest.fixture(scope="module")
def whole(labelled, csv_path, tmp_path_factory):
    """The folder of a training of two epochs of three steps, measured after every second step."""
    folder = tmp_path_factory.mktemp("whole")
    train_here(csv_path, folder, "--probe", labelled, "--probe_every", 2)
    return folder


def make_probe(labelled):
    options = parse_contrast_options(["--probe", str(labelled), "--probe_every", "5", "--epochs", "2"])
    return Probe(options, torch.nn.Sequential(), ProcessContext(), CPU, 20)


def as_rows(probe_set, encoder):
    """Features by the plain network, image by image."""
    rows = []
    for index in range(probe_set.n_images):
        images = [torch.from_numpy(window).permute(2, 0, 1)[None] / 255 for window in probe_set.windows(index)]
        with torch.inference_mode():
            rows.append(torch.cat([encoder(image)[0] for image in images]).numpy())
    return np.stack(rows)


def test_the_kept_encoder_has_the_metrics_that_its_checkpoint_names(labelled, whole):
    best = checkpoint(whole, "best.pth")
    assert best["probe"]["source"] == str(labelled)
    metrics, position = best["probe"]["best"]["metrics"], Position(*best["probe"]["best"]["position"])
    assert position == Position(best["epoch"], best["step"], best["global_step"])
    curve = scalars(whole, "probe/SRCC")
    assert [step for step, _ in curve] == [1, 3, 5]
    assert metrics["SRCC"] == pytest.approx(max(value for _, value in curve), abs=1e-6)

    probe_set = ProbeSet(labelled)
    features = as_rows(probe_set, load_encoder(run_folder(whole) / "best.pth").eval())
    assert probe_set.judge(features) == pytest.approx(metrics, abs=1e-3)


def test_opinions_are_predicted_on_held_out_groups(labelled):
    """SRCC and PLCC by scikit-learn alone, with one penalty."""
    probe_set = ProbeSet(labelled)
    mos = np.array([float(row["mos"]) for row in csv.DictReader(labelled.open())])
    rng = np.random.default_rng(1)
    features = np.stack([mos + rng.normal(size=40), *rng.normal(size=(3, 40))], axis=1)

    srcc, plcc = [], []
    for split in probe_set._splits:
        assert not set(split.test // 2) & set(split.train_and_validation // 2)
        candidates = [
            make_pipeline(*([StandardScaler()] if scaled else []), Ridge(alpha=alpha))
            for scaled in (True, False)
            for alpha in np.logspace(6, -3, 28)
        ]
        validation = [
            spearmanr(one.fit(features[split.train], mos[split.train]).predict(features[split.validation]),
                      mos[split.validation])[0]
            for one in candidates
        ]  # fmt: skip
        chosen = candidates[int(np.argmax(np.round(validation, 12)))]
        learnt_from = split.train_and_validation
        predicted = chosen.fit(features[learnt_from], mos[learnt_from]).predict(features[split.test])
        srcc.append(spearmanr(predicted, mos[split.test])[0])
        plcc.append(pearsonr(predicted, mos[split.test])[0])
    expected = {"SRCC": float(np.median(srcc)), "PLCC": float(np.median(plcc))}
    assert probe_set.judge(features.astype(np.float32)) == pytest.approx(expected, abs=1e-5)


def test_windows_are_centres_at_two_scales(tmp_path):
    image = np.random.default_rng(0).integers(256, size=(600, 1100, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "large.png")
    small = write_labelled(tmp_path / "set")
    small.write_text(small.read_text() + f"{tmp_path / 'large.png'},3,last\n")
    full, half = ProbeSet(small).windows(40)
    assert np.array_equal(full, image[172:428, 422:678])
    expected = Image.fromarray(image[44:556, 294:806]).resize((256, 256), Image.Resampling.BICUBIC)
    assert np.array_equal(half, np.asarray(expected))
    full, half = ProbeSet(small).windows(0)
    assert full.shape == (50, 70, 3) and half.shape == (25, 35, 3)


def test_a_run_is_measured_ten_times_by_default(labelled):
    options = parse_contrast_options(["--probe", str(labelled), "--epochs", "2"])
    probes_of = (Probe(options, torch.nn.Sequential(), ProcessContext(), CPU, n_steps) for n_steps in (6, 95, 100))
    assert [probe.every for probe in probes_of] == [1, 10, 10]


def test_a_run_without_a_better_measurement_keeps_its_best(labelled):
    probe = make_probe(labelled)
    assert [step for step in range(1, 13) if probe.is_due(Position(0, step, step))] == [5, 10]
    assert probe.is_due(Position(2, 0, 13))


@pytest.mark.parametrize("killed_after", [2, 4])
def test_killed_and_resumed_it_keeps_the_same_best(labelled, csv_path, whole, tmp_path, monkeypatch, killed_after):
    more = ["--probe", labelled, "--probe_every", 2, "--resume", "auto"]

    class Killed(Exception):
        pass

    measured = probes.Probe.measure

    def killed(self, position, report):
        result = measured(self, position, report)
        if position.global_step >= killed_after:
            raise Killed
        return result

    monkeypatch.setattr(probes.Probe, "measure", killed)
    with pytest.raises(Killed):
        train_here(csv_path, tmp_path, *more)
    monkeypatch.undo()
    train_here(csv_path, tmp_path, *more)
    for name in ("best.pth", "current.pth"):
        expected, resumed = checkpoint(whole, name), checkpoint(tmp_path, name)
        assert_same_training(expected, resumed)
        assert expected["probe"] == resumed["probe"]
    assert scalars(whole, "probe/PLCC") == scalars(tmp_path, "probe/PLCC")


def test_the_probe_does_not_change_the_training(csv_path, whole, tmp_path):
    train_here(csv_path, tmp_path)
    assert_same_training(checkpoint(tmp_path), checkpoint(whole))


def test_another_probe_set_starts_the_choice_anew(labelled):
    probe = make_probe(labelled)
    probe.best = Measurement({"SRCC": 0.5}, Position(1, 0, 5))
    state = probe.state()
    same = make_probe(labelled)
    same.load_state(state)
    assert same.best == probe.best
    other = make_probe(labelled)
    other.load_state(state | {"digest": "another", "source": "old.csv"})
    assert other.best is None


def test_mistakes_get_a_sentence(tmp_path, csv_path):
    with pytest.raises(UserError, match=r"nowhere\.csv does not exist"):
        ProbeSet(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match="Is a directory"):
        ProbeSet(tmp_path)
    (tmp_path / "same.csv").write_text("image,mos\n" + "".join(f"{row}.png,3\n" for row in range(40)))
    with pytest.raises(UserError, match=r"same\.csv: all scores are 3; no encoder agrees with them"):
        ProbeSet(tmp_path / "same.csv")
    scores = write_labelled(tmp_path / "set")
    (tmp_path / "set" / "7.png").unlink()
    with pytest.raises(UserError, match=r"7\.png does not exist"):
        train_here(csv_path, tmp_path / "run", "--probe", scores)
