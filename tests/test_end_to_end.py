"""The scripts as a person runs them: real processes, small images, a small network."""

import re
import shlex
import signal

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from learning.contrastive.probe import Probe
from learning.contrastive.training_state import Position
from learning.distributed.environment import ProcessContext
from networks import load_encoder
from networks.errors import UserError
from options.contrast import parse_contrast_options
from tests.images import write_labelled, write_shards, write_training_set
from tests.runs import (
    SMALL,
    assert_same_training,
    checkpoint,
    free_port,
    run_folder,
    scalars,
    start,
    tensors,
    train,
    train_here,
)

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("narrow_networks")]

SMALL_CONTENT = shlex.split(
    "--method MoCov2 --cosine --arch resnet18 --feat_dim 16 --nce_k 32 --patch_size 32 --batch_size 4"
)


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"), n_images=10)


@pytest.fixture(scope="module")
def run(csv_path, tmp_path_factory):
    """Two epochs of three steps in one process; the folder and what was printed."""
    folder = tmp_path_factory.mktemp("run")
    status, output, errors = train(csv_path, folder, "--epochs", 2)
    assert status == 0, errors
    return folder, output


def test_progress_is_printed_and_logged(run):
    folder, output = run
    lines = re.findall(
        r"epoch (\d)/2  step (\d)/3  loss ([\d.]+)  acc ([\d.]+)%  lr ([\d.e-]+)  [\d.]+ images/s", output
    )
    assert [line[:2] for line in lines] == [(e, s) for e in "12" for s in "123"]
    losses = scalars(folder, "loss")
    assert [step for step, _ in losses] == list(range(6))
    assert [f"{loss:.3f}" for _, loss in losses] == [line[2] for line in lines]
    # lowest = 0.05 * 0.1^3; epoch 1 of 2 is half-way
    expected = [5e-5 + (0.05 - 5e-5) / 2] * 3 + [5e-5] * 3
    assert [rate for _, rate in scalars(folder, "learning_rate")] == pytest.approx(expected, rel=1e-6)
    assert [step for step, _ in scalars(folder, "acc")] == list(range(6))
    log = EventAccumulator(str(run_folder(folder)))
    log.Reload()
    assert log.Tags()["images"] == ["query_above_key"]


def test_resuming_gives_the_same_end_as_never_stopping(csv_path, run, tmp_path):
    whole, _ = run
    (stopped := tmp_path / "stopped").mkdir()
    first = run_folder(whole) / "ckpt_epoch_1.pth"
    status, output, errors = train(csv_path, stopped, "--epochs", 2, "--resume", first, "-j", 0)
    assert status == 0, errors
    assert "resuming after epoch 1" in output
    assert_same_training(checkpoint(whole), checkpoint(stopped))
    assert scalars(stopped, "loss") == scalars(whole, "loss")[3:]


def test_a_training_from_shards_stopped_within_an_epoch_ends_like_one_from_files(csv_path, run, tmp_path):
    files, output = run
    write_shards(csv_path.read_text().split()[1:], tmp_path / "shards")
    paths = ["--csv_path", tmp_path / "shards", "--model_path", tmp_path / "run", "--tb_path", tmp_path / "run"]
    process = start(*SMALL, *paths, "--epochs", 2)
    for line in process.stdout:
        if "step 1/3" in line:
            break
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=300) and process.returncode == 75
    status, resumed, errors = train(tmp_path / "shards", tmp_path / "run", "--epochs", 2, "--resume", "auto")
    assert status == 0 and f"10 images of shards {tmp_path / 'shards'}" in resumed, errors
    assert re.findall("weights .*", resumed) == re.findall("weights .*", output)
    assert_same_training(checkpoint(files), checkpoint(tmp_path / "run"))


def assert_trained_by_two_processes(folder, output):
    """With as many images per step as one process has; both ways of starting end with complete checkpoints."""
    assert "2 processes on cpu over gloo" in output
    assert len(re.findall("step [123]/3", output)) == 3
    state = checkpoint(folder)
    assert state["queue_position"] == 3 * 4 * 6 % 48
    assert len(list(tensors(state))) > 300


@pytest.mark.parametrize("n_processes", [1, 2])
def test_the_content_encoder_trains_from_a_folder(csv_path, tmp_path, n_processes):
    """The same trainer and checkpoints; the folder is scanned once however many processes there are."""
    more = ["--multiprocessing-distributed", "--nproc-per-node", 2, "--dist-url", f"tcp://127.0.0.1:{free_port()}"]
    process = start(
        *SMALL_CONTENT,
        *("--data_folder", csv_path.parent, "--model_path", tmp_path, "--tb_path", tmp_path, "--epochs", 2),
        *(more if n_processes == 2 else []),
    )
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert (
        f"10 images of folder {csv_path.parent}, resnet18" in output
        and len(re.findall("epoch [12]/2  step 3/3", output)) == 2
    )
    state = checkpoint(tmp_path)
    assert state["run"]["views"] == "content" and state["queue_position"] == 2 * 3 * 4 % 32


def test_training_starts_from_a_given_encoder(csv_path, run, tmp_path):
    """With a learning rate of next to nothing the end is the beginning: the encoder that was given."""
    given = run_folder(run[0]) / "current.pth"
    more = ["--init", given, "--epochs", 1, "--learning_rate", "1e-12", "--weight_decay", 0]
    train_here(csv_path, tmp_path, *more)
    name = "module.encoder.layer3.0.conv1.weight"
    assert torch.allclose(checkpoint(tmp_path)["model"][name], checkpoint(run[0])["model"][name], atol=1e-6)
    with pytest.raises(UserError, match="is no checkpoint of weights, or is damaged"):
        train_here(csv_path, tmp_path, "--init", csv_path)


def test_a_mistake_ends_in_one_sentence_and_status_1(tmp_path):
    two = ["--multiprocessing-distributed", "--nproc-per-node", 2, "--dist-url", f"tcp://127.0.0.1:{free_port()}"]
    process = start("--csv_path", tmp_path / "nowhere.csv", *two)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in errors
    assert re.search(r"^main_contrast.py: process 0 on \S+: training CSV .*nowhere.csv does not exist", errors)


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_broken_image_is_replaced_named_and_bounded(csv_path, tmp_path, n_processes):
    """One in eleven: too many for the default of 1 %, few enough for 10 %; the same whatever the number of workers."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 torn off")
    (tmp_path / "t.csv").write_text(csv_path.read_text() + f"{broken}\n")
    url = f"tcp://127.0.0.1:{free_port()}"
    more = f"--multiprocessing-distributed --nproc-per-node 2 --world-size 1 --rank 0 --dist-url {url}".split()
    more = more if n_processes == 2 else []
    status, output, errors = train(tmp_path / "t.csv", tmp_path / "run", "--epochs", 1, "--max_bad", 10, *more)
    assert status == 0, errors
    if n_processes == 2:
        assert_trained_by_two_processes(tmp_path / "run", output)
    assert f"line 12: image {broken} cannot be read" in errors
    assert str(broken) in (run_folder(tmp_path / "run") / "bad_images.csv").read_text()

    status, _, errors = train(tmp_path / "t.csv", tmp_path / "stopped", "--epochs", 1, *more)
    assert status == 1 and "1 of 11 training images cannot be read, more than --max_bad 1 % allows" in errors
    assert "Traceback" not in errors
    if n_processes == 1:
        train_here(tmp_path / "t.csv", tmp_path / "again", "--epochs", 1, "--max_bad", 10)
        assert_same_training(checkpoint(tmp_path / "run"), checkpoint(tmp_path / "again"))


def test_another_number_of_processes_continues_and_says_what_that_means(csv_path, tmp_path):
    train_here(csv_path, tmp_path, "--save_steps", 2, "--resume", "auto", "--batch_size", 2)
    two = ["--multiprocessing-distributed", "--nproc-per-node", 2, "--dist-url", f"tcp://127.0.0.1:{free_port()}"]
    again = run_folder(tmp_path) / "ckpt_epoch_1.pth"
    status, output, errors = train(
        csv_path, tmp_path, "--epochs", 2, "--resume", again, "--batch_size", 2, "--n_aug", 3, *two
    )
    assert status == 0, errors
    assert "processes was 1 and is 2: BatchNorm sees different batches" in errors and "resuming after epoch 1" in output


def test_crops_in_tensorboard_are_what_the_network_sees(run):
    log = EventAccumulator(str(run_folder(run[0])))
    log.Reload()
    picture = log.Images("query_above_key")[0]
    pixels = cv2.imdecode(np.frombuffer(picture.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (2 * 34 + 2, 6 * 34 + 2, 3) and pixels.std() > 20


def test_the_probe_measures_on_two_processes_what_it_measures_on_one(csv_path, tmp_path):
    labelled = write_labelled(tmp_path / "labelled")
    two = ["--multiprocessing-distributed", "--nproc-per-node", 2, "--epochs", 1]
    status, output, errors = train(csv_path, tmp_path / "run", "--probe", labelled, *two)
    assert status == 0, errors
    assert "probe: 40 images of" in output and "the best so far" in output
    best = checkpoint(tmp_path / "run", "best.pth")
    encoder = load_encoder(run_folder(tmp_path / "run") / "best.pth")
    options = parse_contrast_options(["--probe", str(labelled)])
    alone = Probe(options, encoder, ProcessContext(), torch.device("cpu"), 1)
    assert alone.measure(Position(), report=lambda *_: None)
    assert alone.best.metrics == best["probe"]["best"]["metrics"]
