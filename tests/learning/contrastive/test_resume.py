"""A resumed run is the same run; and what is said, or refused, where it cannot be."""

import os
import re
import shutil
import time
from contextlib import nullcontext

import pytest
import torch

from learning.contrastive import resume, trainer
from learning.contrastive.training_log import Progress
from networks.encoder import build_encoder
from networks.errors import UserError
from tests.images import write_training_set
from tests.runs import assert_same_curves, assert_same_training, checkpoint, run_folder, scalars, train_here

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks")]

AUTO = ("--resume", "auto", "--print_freq", 10)


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"), n_images=10)


@pytest.fixture
def run(csv_path, monkeypatch):
    """Trains in this process: ``run(folder, *options, killed_after=global step)``."""

    def run(folder, *more, killed_after=None):
        class KilledProgress(Progress):
            def batches(self, loader):
                for batch in super().batches(loader):
                    if self._position.global_step == killed_after != self._start.global_step:
                        raise Killed
                    yield batch

        monkeypatch.setattr(trainer, "Progress", KilledProgress)
        with pytest.raises(Killed) if killed_after is not None else nullcontext():
            train_here(csv_path, folder, *more)

    return run


@pytest.mark.parametrize(
    "optimizer, save_steps, kills",
    [("LARS", 2, (1, 3)), ("SGD", 2, (5,)), ("AdamW", 1, (2, 4)), ("SGD", None, (4,))],
)
def test_killed_at_any_step_and_resumed_it_is_the_same_run(run, tmp_path, optimizer, save_steps, kills):
    """Six steps; where the logged values of a step wait to be reported, they are not lost either."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ["--optimizer", optimizer, "--resume", "auto", "--print_freq", 10]
    more += ["--save_steps", save_steps] if save_steps else []
    run(whole, *more)
    for step in kills:
        run(killed, *more, killed_after=step)
    run(killed, *more)
    assert_same_training(checkpoint(whole), checkpoint(killed))
    assert_same_curves(whole, killed)
    assert [step for step, _ in scalars(killed, "loss")] == list(range(6))


def test_a_truncated_checkpoint_costs_the_steps_since_the_one_before(run, tmp_path, capsys):
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    more = ["--save_steps", 1, "--resume", "auto"]
    run(whole, *more)
    run(damaged, *more, killed_after=5)
    current = run_folder(damaged) / "current.pth"
    current.write_bytes(current.read_bytes()[:100_000])
    run(damaged, *more)
    assert "warning: checkpoint" in (said := capsys.readouterr()).err
    assert re.search(r"resuming after step 1 of epoch 2 of \S+previous.pth", said.out)
    assert_same_training(checkpoint(whole), checkpoint(damaged))
    assert_same_curves(whole, damaged)


def test_what_can_no_longer_be_identical_is_said(run, csv_path, tmp_path, capsys):
    run(tmp_path / "a", "--save_steps", 2, killed_after=2)
    run(tmp_path / "b", "--batch_size", 2, "--seed", 1, "--resume", run_folder(tmp_path / "a") / "current.pth")
    captured = capsys.readouterr()
    said = captured.out
    # Two steps of four images are four steps of two; the curve goes on where it was.
    assert "resuming after step 4 of epoch 1" in said and re.findall(r"epoch 1/2  step (\d)/5", said) == ["5"]
    assert "warning: batch_size was 4 and is 2: the images of each step" in captured.err
    assert "warning: seed was 0 and is 1: the order of the images" in captured.err
    assert "the results will therefore differ from those of the original run" in captured.err
    assert [step for step, _ in scalars(tmp_path / "b", "loss")] == [2, 3, 4, 5, 6, 7]


def test_another_order_of_the_images_is_said_and_another_folder_of_them_is_none(run, csv_path, tmp_path, capsys):
    run(tmp_path / "a", killed_after=3)
    current = run_folder(tmp_path / "a") / "current.pth"
    header, *lines = csv_path.read_text().splitlines()
    names = [line.rpartition("/")[2] for line in lines]
    shutil.copytree(csv_path.parent, tmp_path / "moved")
    for order, said in ((names, False), (names[::-1], True)):
        moved = tmp_path / "moved.csv"
        moved.write_text("\n".join([header, *(f"{tmp_path}/moved/{name}" for name in order)]) + "\n")
        train_here(moved, tmp_path / f"b{said}", "--resume", current)
        assert ("the list has other images, or another order of them" in capsys.readouterr().err) == said


def test_resume_of_a_folder_names_the_checkpoint_in_it(run, tmp_path):
    run(tmp_path / "a", killed_after=3)
    folder = run_folder(tmp_path / "a")
    with pytest.raises(UserError, match=rf"is a folder; name the checkpoint in it: {folder}/current.pth"):
        run(tmp_path / "b", "--resume", folder)
    with pytest.raises(UserError, match=r"is a folder; it holds no checkpoint of a training"):
        run(tmp_path / "b", "--resume", tmp_path)


def test_auto_takes_a_runs_own_folder_for_model_path(run, tmp_path, capsys):
    run(tmp_path / "a", *AUTO, "--epochs", 1)
    folder = run_folder(tmp_path / "a")
    run(folder, *AUTO, "--epochs", 2)
    assert f"resuming after epoch 1 of {folder}/current.pth" in capsys.readouterr().out
    assert not [path for path in folder.iterdir() if path.is_dir() and "ep2" in path.name]
    assert [step for step, _ in scalars(tmp_path / "a", "loss")] == list(range(6))


def test_auto_says_why_it_does_not_continue_a_run(run, tmp_path, capsys):
    run(tmp_path, *AUTO, "--epochs", 1)
    folder = run_folder(tmp_path)
    run(tmp_path, *AUTO, "--epochs", 1, "--optimizer", "AdamW")
    said = capsys.readouterr()
    assert (
        f"warning: --resume auto does not continue the run in {folder}: it was trained with --optimizer SGD, this run "
        "has --optimizer AdamW" in said.err
    )
    assert "starting afresh" in said.out


@pytest.mark.parametrize("option, value, other", [("nce_k", 64, 48), ("arch", "resnet34", "resnet18")])
def test_another_network_or_queue_is_refused_with_both_values(run, tmp_path, option, value, other):
    run(tmp_path / "a", killed_after=3)
    current = run_folder(tmp_path / "a") / "current.pth"
    with pytest.raises(UserError, match=f"trained with --{option} {other}, this run has --{option} {value}"):
        run(tmp_path / "b", "--resume", current, f"--{option}", value)


def test_weights_that_are_not_finite_are_not_saved(run, tmp_path):
    """A step can end in them while its loss was finite: the checkpoint before is the last good one."""
    with pytest.raises(UserError, match=r"not finite after step 1 of epoch 1|the loss is nan after (step 2 of )?epoch"):
        run(tmp_path, "--learning_rate", "1e38", "--save_steps", 1)


def test_auto_finds_the_run_though_its_name_has_changed(run, tmp_path, capsys):
    """Batch size, epochs, learning rate and --amp are in the folder's name, and may change."""
    run(tmp_path, *AUTO, "--epochs", 1)
    first = run_folder(tmp_path)
    run(tmp_path, *AUTO, "--epochs", 2, "--learning_rate", 0.01, "--batch_size", 2, "--amp")
    captured = capsys.readouterr()
    assert run_folder(tmp_path) == first, "the run continues in its folder"
    assert f"--resume auto continues the run in {first}; another --model_path would start a new run" in captured.out
    assert "resuming after epoch 1" in captured.out
    for change in ("epochs was 1 and is 2", "learning_rate was 0.05 and is 0.01", "amp was False and is True"):
        assert f"warning: {change}: the new value holds from here on" in captured.err
    assert checkpoint(tmp_path)["global_step"] == 3 + 5

    # Another queue is another run; and the one with the exact name comes before a newer one that fits.
    run(tmp_path, *AUTO, "--nce_k", 64, "--epochs", 1)
    assert "starting afresh" in capsys.readouterr().out and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UserError, match=r"complete, and differs from this run: .*amp was True and is False"):
        run(tmp_path, *AUTO, "--epochs", 1)


def test_of_several_runs_that_fit_auto_continues_the_newest(run, tmp_path, capsys):
    old, new, broken = (tmp_path / name for name in ("old", "new", "broken"))
    run(old, "--epochs", 1)
    for path, seconds in ((new, 100), (broken, 200)):
        shutil.copytree(run_folder(old), path)
        (path / "current.pth").write_bytes(b"damaged" if path == broken else (path / "current.pth").read_bytes())
        for file in path.glob("*.pth"):
            os.utime(file, (time.time() + seconds,) * 2)
    (broken / "ckpt_epoch_1.pth").unlink()
    shutil.copytree(run_folder(old), tmp_path / "oldest")
    run(tmp_path, *AUTO)
    assert f"continues the run in {new} (the newest of 2 runs that fit)" in capsys.readouterr().out
    assert (broken / "current.pth").read_bytes() == b"damaged", "other runs' files are left alone"


def test_a_network_that_predicts_levels_is_another_run(run, tmp_path, capsys):
    """Its checkpoint holds one more layer: auto starts a run of its own, and a named checkpoint is refused."""
    run(tmp_path, *AUTO, "--epochs", 1)
    first = run_folder(tmp_path)
    levels = ("--level_weight", 0.3)
    run(tmp_path, *AUTO, "--epochs", 1, *levels)
    assert "starting afresh" in capsys.readouterr().out and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UserError, match=r"was trained with --level_weight 0, this run has --level_weight 0\.3"):
        run(tmp_path, "--resume", first / "current.pth", *levels)


@pytest.fixture
def other_run(csv_path, tmp_path):
    """What makes another run that has the same name: an option, or other images."""

    def other_run(what):
        if what == "image_folder":
            shutil.copytree(csv_path.parent, tmp_path / "other_images")
            moved = tmp_path / "other.csv"
            moved.write_text(csv_path.read_text().replace(f"{csv_path.parent}/", f"{tmp_path}/other_images/"))
            return ("--csv_path", moved)
        if what == "init":
            torch.save(build_encoder("resnet18").state_dict(), tmp_path / "init.pth")
            return ("--init", tmp_path / "init.pth")
        return (f"--{what}", {"seed": 1, "alpha": 0.99, "weight_decay": 0.01, "feat_dim": 8}[what])

    return other_run


@pytest.mark.parametrize("what", ["seed", "alpha", "weight_decay", "feat_dim", "init", "image_folder"])
def test_another_run_of_the_same_name_replaces_nothing_and_does_not_end_as_done(run, other_run, tmp_path, what):
    """Without --resume, and with auto where the first run is complete; the sentence names the option."""
    more = other_run(what)
    expt = tmp_path / "expt"
    run(expt, "--epochs", 1)
    (folder,) = expt.iterdir()
    first = {path: path.read_bytes() for path in folder.glob("*.pth")}
    with pytest.raises(UserError, match=rf"of another run, which this run would replace: .*{what} was .* and is "):
        run(expt, "--epochs", 1, *more)
    with pytest.raises(UserError, match=rf"checkpoint .*{what} .*; another --model_path starts a new run"):
        run(expt, "--epochs", 1, *more, "--resume", "auto")
    assert [*expt.iterdir()] == [folder] and first == {path: path.read_bytes() for path in folder.glob("*.pth")}


def test_a_named_checkpoint_continues_as_another_run_only_where_nothing_later_is_replaced(run, tmp_path, capsys):
    run(tmp_path)
    folder = run_folder(tmp_path)
    early, latest = folder / "ckpt_epoch_1.pth", folder / "current.pth"
    with pytest.raises(UserError, match=r"which this run would replace: alpha was 0\.999 and is 0\.9;"):
        run(tmp_path, "--resume", early, "--alpha", 0.9)
    run(tmp_path, "--resume", early)  # the same run: it comes to the same checkpoints
    assert "of an earlier run will be replaced" in capsys.readouterr().err
    run(tmp_path, "--resume", latest)
    assert f"nothing to do: {latest} has completed 2 of --epochs 2" in capsys.readouterr().out


def test_a_complete_run_is_done_also_on_other_machines(run, tmp_path, capsys, monkeypatch):
    """A launcher may replace a node after the last step. An equal run that starts anew is warned."""
    run(tmp_path, "--epochs", 1)
    description = resume.describe_run
    other = {"processes": 3, "processes_per_node": 3}
    monkeypatch.setattr(trainer, "describe_run", lambda *given: description(*given) | other)
    run(tmp_path, *AUTO, "--epochs", 1)
    assert "nothing to do" in capsys.readouterr().out
    monkeypatch.undo()
    run(tmp_path, "--epochs", 1)
    assert "of an earlier run will be replaced; --resume auto would" in capsys.readouterr().err


def test_auto_gives_a_run_its_own_folder_beside_a_complete_one(run, tmp_path, capsys):
    """The learning rate is in the name: a second run starts, instead of ending as the first one."""
    run(tmp_path, *AUTO, "--epochs", 1)
    run(tmp_path, *AUTO, "--epochs", 1, "--learning_rate", 0.01)
    assert "learning_rate was 0.05 and is 0.01" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 2
