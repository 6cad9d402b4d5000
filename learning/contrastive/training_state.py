"""Training state on disk, in the layout of the released Re-IQA and PyContrast checkpoints.

``model`` holds the query network under ``module.encoder.*`` and ``module.head.*``, ``model_ema`` the key network
under the same names without ``module.``, ``contrast`` the queue as ``memory``; beside ``optimizer`` and ``epoch``
there is what an exact continuation needs: ``step`` and ``global_step`` (``Position``), ``queue_position``,
``grad_scaler`` and ``run``, what was said of the run when it was saved.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from common.atomic_files import whole_file
from common.errors import UserError
from learning.contrastive.moco import MoCo
from networks.checkpoint_formats import read_file, with_prefix

MODULE = "module."
CURRENT = "current.pth"
PREVIOUS = "previous.pth"
OF_EPOCH = "ckpt_epoch_{}.pth"

Content = dict[str, Any]
T = TypeVar("T")


class Position(NamedTuple):
    """How far a training is: whole epochs, steps of the one after them, and steps in all."""

    epoch: int = 0
    step: int = 0
    global_step: int = 0

    @classmethod
    def within(cls, epoch: int, done: int, steps_per_epoch: int, global_step: int) -> Position:
        """``done`` steps into epoch ``epoch``, counted from 1; the last of them completes it."""
        return cls(epoch - 1, done, global_step) if done < steps_per_epoch else cls(epoch, 0, global_step)

    def __str__(self) -> str:
        return f"epoch {self.epoch}" if self.step == 0 else f"step {self.step} of epoch {self.epoch + 1}"


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside a DistributedDataParallel, or the network itself."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network


def training_state(
    moco: MoCo, optimizer: Optimizer, scaler: GradScaler, position: Position, run: dict[str, Any]
) -> Content:
    """The dictionary that is saved at ``position``. Raises UserError for weights that are not finite."""
    for name, value in unwrapped(moco.query_network).state_dict().items():
        if not torch.isfinite(value).all():
            raise UserError(
                f"{name} is not finite after {position}: training stopped, the last checkpoint stands; a lower "
                "--learning_rate, --warm or no --amp may help"
            )
    return {
        "model": with_prefix(unwrapped(moco.query_network).state_dict(), MODULE),
        "model_ema": moco.key_network.state_dict(),
        "contrast": {"memory": moco.queue.memory},
        "queue_position": moco.queue.position,
        "optimizer": optimizer.state_dict(),
        "grad_scaler": scaler.state_dict(),
        **position._asdict(),
        "run": run,
    }


def save_checkpoint(state: Content, folder: Path, keep_as: str | None, keep: int | None = None) -> None:
    """Writes ``current.pth``, whole or not at all, so that there are always two to fall back on.

    With ``keep_as`` the same is written under that name too, and of all ``ckpt_epoch_N.pth`` the last ``keep`` stay
    (None: all); without, what ``current.pth`` was before is kept as ``previous.pth`` until the next one with a name.
    Raises UserError where the disk is full.
    """
    current, previous = folder / CURRENT, folder / PREVIOUS
    try:
        if not keep_as and current.exists():
            _keep(current, previous)
        _write(state, current)
        if keep_as:
            _copy(current, folder / keep_as)
            previous.unlink(missing_ok=True)
    except UserError as error:
        stands = "the checkpoint before it stands" if current.exists() else "there is no checkpoint yet"
        raise UserError(
            f"{error}; training stopped, {stands}, and --resume auto continues when there is room"
        ) from None
    for path in _of_epochs(folder)[: -keep if keep else 0]:
        path.unlink()


def _write(state: Content, path: Path) -> None:
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # torch's writer hides what the system said (that the disk is full) behind an error of its own.
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def _copy(source: Path, target: Path) -> None:
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _keep(source: Path, target: Path) -> None:
    """Gives what ``source`` is now a second name, which stays when ``source`` is replaced."""
    with whole_file(target, durable=False) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, temporary)


def _of_epochs(folder: Path) -> list[Path]:
    """The checkpoints kept by their epoch, oldest first."""
    prefix, suffix = OF_EPOCH.split("{}")
    found = {
        int(number): path
        for path in folder.glob(OF_EPOCH.format("*"))
        if (number := path.name.removeprefix(prefix).removesuffix(suffix)).isdecimal()
    }
    return [found[epoch] for epoch in sorted(found)]


def read_position(content: Content, path: Path) -> Position:
    """Where a checkpoint was saved. The released ones were at an epoch's end and do not count steps: global_step -1."""
    try:
        return Position(int(content["epoch"]), int(content.get("step", 0)), int(content.get("global_step", -1)))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"checkpoint {path} cannot be resumed: it does not say after which epoch it was saved"
        ) from None


def read_whole(path: Path) -> Content:
    """A checkpoint's content, checked against the sums in the file; UserError where it is damaged."""
    if zipfile.is_zipfile(path):  # as torch writes them; but it does not compare the sums when it loads
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except zipfile.BadZipFile as error:
            raise UserError(f"checkpoint {path} is damaged: {error}") from None
        if damaged:
            raise UserError(f"checkpoint {path} is damaged: the sum of {damaged} is wrong")
    return read_file(path)


def newest_checkpoint(folder: Path) -> tuple[Path, Content] | tuple[None, None]:
    """The newest whole checkpoint of a run's folder and its content; a warning for each damaged one found on the way.

    ``current.pth`` is always what was written last; of the others the one that got farthest is the newest. A damaged
    one is renamed, so that it is neither met again nor lost.
    """
    paths = [path for path in [folder / CURRENT, *_of_epochs(folder), folder / PREVIOUS] if path.exists()]
    positions = {path: _unless_damaged(_position_of, path) for path in paths}
    whole = [path for path in paths if positions[path] is not None]
    for path in sorted(whole, key=lambda path: (path.name == CURRENT, positions[path]), reverse=True):
        content = _unless_damaged(read_whole, path)
        if content:
            return path, content
    return None, None


def _position_of(path: Path) -> Position:
    return read_position(read_file(path, mmap=True), path)


def _unless_damaged(read: Callable[[Path], T], path: Path) -> T | None:
    """What ``read`` makes of ``path``; None, with a warning and the file renamed, where it is damaged."""
    try:
        return read(path)
    except UserError as error:
        renamed = path.with_name(path.name + ".damaged")
        path.replace(renamed)
        print(f"warning: {error}; it is now {renamed.name}, and the one before it is taken", file=sys.stderr)
        return None
