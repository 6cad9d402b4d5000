"""Files of a run: whole or not at all, two to fall back on, no more than wanted, and never a silent loss."""

import contextlib
import os
import subprocess

import pytest
import torch

from common.atomic_files import remove_leftovers
from learning.contrastive import training_state
from learning.contrastive.training_state import (
    OF_EPOCH,
    Position,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from networks.errors import UserError


def state(epoch, step=0):
    weights = torch.full((1000,), float(10 * epoch + step))
    return {"model": {"weight": weights}, "epoch": epoch, "step": step, "global_step": 100 * epoch + step}


def save(folder, epoch, step=0, keep=None):
    save_checkpoint(state(epoch, step), folder, None if step else OF_EPOCH.format(epoch), keep)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def newest(folder):
    saved = newest_checkpoint(folder)
    assert saved.position == (saved.content["epoch"], saved.content["step"], saved.content["global_step"])
    return saved.path.name, *saved.position[:2]


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "one bit":
        content[len(content) // 2] ^= 1
    if how == "not finite":
        torch.save(torch.load(path) | {"model": {"weight": torch.tensor([1, float("nan")])}}, path)
        return
    path.write_bytes(b"" if how == "emptied" else content[: len(content) // 2] if how == "truncated" else content)


def test_the_newest_is_found_and_the_last_few_are_kept(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    for epoch in (8, 9, 10, 11):
        save(tmp_path, epoch, keep=2)
    assert names(tmp_path) == ["ckpt_epoch_10.pth", "ckpt_epoch_11.pth", "current.pth"]
    assert newest(tmp_path) == ("current.pth", 11, 0)
    save(tmp_path, 11, step=5, keep=2)
    save(tmp_path, 11, step=6, keep=2)
    assert names(tmp_path) == ["ckpt_epoch_10.pth", "ckpt_epoch_11.pth", "current.pth", "previous.pth"]
    assert newest(tmp_path) == ("current.pth", 11, 6)


@pytest.mark.parametrize("how", ["truncated", "emptied", "one bit", "not finite"])
def test_a_damaged_one_is_set_aside_with_a_warning_and_the_one_before_it_taken(tmp_path, how, capsys):
    for epoch, step in ((1, 0), (2, 0), (2, 3), (2, 6)):
        save(tmp_path, epoch, step)
    expected = [("current.pth", 2, 6), ("previous.pth", 2, 3), ("ckpt_epoch_2.pth", 2, 0), ("ckpt_epoch_1.pth", 1, 0)]
    for name, epoch, step in expected:
        assert newest(tmp_path) == (name, epoch, step)
        assert capsys.readouterr().err == ""
        damage(tmp_path / name, how)
        newest_checkpoint(tmp_path)
        warning = capsys.readouterr().err
        assert f"warning: checkpoint {tmp_path / name} is" in warning and "damaged" in warning
    assert newest_checkpoint(tmp_path) is None
    assert all(name.endswith(".pth.damaged") for name in names(tmp_path))


def test_one_in_the_older_format_of_torch_is_sound(tmp_path):
    torch.save(state(3), tmp_path / "current.pth", _use_new_zipfile_serialization=False)
    assert newest(tmp_path) == ("current.pth", 3, 0)
    (tmp_path / "previous.pth").write_text("no checkpoint")
    assert newest(tmp_path) == ("current.pth", 3, 0)


def test_a_sound_one_that_cannot_be_read_now_is_not_set_aside(tmp_path, monkeypatch):
    """The memory of a smaller machine, or a file server's error."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    before = names(tmp_path)

    def load(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(UserError, match=r"current.pth cannot be read: the memory is too small"):
        newest_checkpoint(tmp_path)
    assert names(tmp_path) == before


@pytest.mark.parametrize("offset", range(0, 46))
def test_any_flipped_byte_of_a_header_is_damage(tmp_path, offset):
    save(tmp_path, 1)
    path = tmp_path / "current.pth"
    content = bytearray(path.read_bytes())
    for start in (0, content.rindex(b"PK\x01\x02")):
        changed = content.copy()
        changed[start + offset] ^= 0xFF
        path.write_bytes(changed)
        with contextlib.suppress(UserError):  # other errors would end the run
            read_checkpoint(path)


def test_a_named_checkpoint_that_is_damaged_is_refused(tmp_path):
    save(tmp_path, 1)
    damage(tmp_path / "current.pth", "one bit")
    with pytest.raises(UserError, match=r"current.pth is damaged: the checksum of .* is wrong"):
        read_checkpoint(tmp_path / "current.pth")


def test_a_save_that_is_killed_leaves_the_one_before_it(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def killed(content, file):
        file.write(b"half of it")
        os._exit(9)

    monkeypatch.setattr(training_state.torch, "save", killed)
    child = os.fork()
    if child == 0:
        save(tmp_path, 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(names(tmp_path)) == 3 and newest(tmp_path) == ("current.pth", 1, 0)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["ckpt_epoch_1.pth", "current.pth"]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB, which needs root: the real error at the real place."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("step", [0, 4])
def test_a_full_disk_is_a_sentence_and_the_older_checkpoint_stays(small_disk, step):
    save(small_disk, 1)
    large = state(2, step) | {"contrast": torch.zeros(100_000)}
    with pytest.raises(
        UserError, match=r"cannot be written: No space left on device.*the checkpoint before it is kept"
    ):
        save_checkpoint(large, small_disk, None if step else "ckpt_epoch_2.pth")
    assert newest(small_disk) == ("current.pth", 1, 0)
    assert not [name for name in names(small_disk) if name.startswith(".")]


def test_positions():
    assert Position(2, 3, 13).after_step(5) == (2, 4, 14) and str(Position(2, 4, 14)) == "step 4 of epoch 3"
    assert Position(2, 4, 14).after_step(5) == (3, 0, 15) and str(Position(3, 0, 15)) == "epoch 3"
