"""Training state on disk, in the layout of the released Re-IQA and PyContrast checkpoints.

``model`` holds the query network under ``module.encoder.*`` and ``module.head.*``, ``model_ema`` the key network
under the same names without ``module.``, ``contrast`` the queue as ``memory``. An exact resume needs, beside
``optimizer`` and ``epoch``, these entries: ``step`` and ``global_step`` (``Position``), ``queue_position``,
``grad_scaler``, and ``run``, the options of the run (``resume.describe_run``).
``probe`` is the state of the run's probe.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from common import log
from common.atomic_files import whole_file
from common.errors import UserError
from learning.contrastive.moco import MoCo
from networks.checkpoint_files import UnreadableFileError
from networks.checkpoint_formats import read_file, with_prefix

MODULE = "module."
CURRENT = "current.pth"
PREVIOUS = "previous.pth"
OF_EPOCH = "ckpt_epoch_{}.pth"
BEST = "best.pth"

Content = dict[str, Any]
T = TypeVar("T")


class Position(NamedTuple):
    """The progress of a training: complete epochs, steps done in the epoch after them, and steps done in all."""

    epoch: int = 0
    step: int = 0
    global_step: int = 0

    def after_step(self, steps_per_epoch: int) -> Position:
        """The position one step later."""
        if self.step + 1 < steps_per_epoch:
            return Position(self.epoch, self.step + 1, self.global_step + 1)
        return Position(self.epoch + 1, 0, self.global_step + 1)

    @property
    def at_epoch_end(self) -> bool:
        return self.step == 0

    def __str__(self) -> str:
        return f"epoch {self.epoch}" if self.step == 0 else f"step {self.step} of epoch {self.epoch + 1}"


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside a DistributedDataParallel, or the network itself."""
    inner = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
    assert isinstance(inner, nn.Module)
    return inner


def training_state(
    moco: MoCo,
    optimizer: Optimizer,
    scaler: GradScaler,
    position: Position,
    run: dict[str, Any],
    probe: dict[str, Any] | None = None,
) -> Content:
    """The dictionary that is saved at ``position``; ``probe`` is the state of the run's probe.

    Raises UserError for weights that are not finite."""
    name = _not_finite(unwrapped(moco.f_q).state_dict())
    if name is not None:
        raise UserError(
            f"{name} is not finite after {position}: training stopped, the last checkpoint is kept; a lower "
            "--learning_rate, --warm or no --amp may help"
        )
    return {
        "model": with_prefix(unwrapped(moco.f_q).state_dict(), MODULE),
        "model_ema": moco.f_k.state_dict(),
        "contrast": {"memory": moco.queue.memory},
        "queue_position": moco.queue.position,
        "optimizer": optimizer.state_dict(),
        "grad_scaler": scaler.state_dict(),
        **position._asdict(),
        "run": run,
        **({"probe": probe} if probe else {}),
    }


def save_checkpoint(
    state: Content, folder: Path, keep_as: str | None, keep: int | None = None, is_best: bool = False
) -> None:
    """Writes ``current.pth``, completely or not at all, and keeps an older checkpoint to fall back on.

    The best checkpoint so far is also kept as ``best.pth``. It is written first: a run that is killed in between
    resumes from an older checkpoint, comes to the same measurement, and writes it again.

    With ``keep_as`` a copy gets that name, and only the last ``keep`` of all ``ckpt_epoch_N.pth`` are kept (None: all).
    Without, the former ``current.pth`` is kept as ``previous.pth`` until the next checkpoint with a name.
    Raises UserError if the disk is full.
    """
    current, previous = folder / CURRENT, folder / PREVIOUS
    try:
        if is_best:
            _write(state, folder / BEST)
        if not keep_as and current.exists():
            _keep(current, previous)
        _write(state, current)
        if keep_as:
            _copy(current, folder / keep_as)
            previous.unlink(missing_ok=True)
    except UserError as error:
        older = "the checkpoint before it is kept" if current.exists() else "there is no checkpoint yet"
        raise UserError(f"{error}; training stopped, {older}; make room, and --resume auto continues") from None
    for path in _of_epochs(folder)[: -keep if keep else 0]:
        path.unlink()


def _write(state: Content, path: Path) -> None:
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # torch's writer hides the system's error (the disk is full) behind an error of its own.
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def _copy(source: Path, target: Path) -> None:
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _keep(source: Path, target: Path) -> None:
    """Gives the present ``source`` a second name, which remains when ``source`` is replaced."""
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
    """The position at which a checkpoint was saved.

    The released checkpoints were saved at the end of an epoch and do not count steps: their global_step is -1.
    """
    try:
        return Position(int(content["epoch"]), int(content.get("step", 0)), int(content.get("global_step", -1)))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"checkpoint {path} cannot be resumed: it does not hold the number of its epoch") from None


def read_whole(path: Path) -> Content:
    """A checkpoint's content, verified by the checksums in the file; UserError if it is damaged or not finite."""
    if zipfile.is_zipfile(path):  # torch's own format, but torch does not verify the checksums
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except OSError as error:
            raise UnreadableFileError(f"checkpoint {path} cannot be read: {error.strerror or error}") from None
        except Exception as error:  # flipped bits in a header can look like encryption or another compression
            raise UserError(f"checkpoint {path} is damaged: {error}") from None
        if damaged:
            raise UserError(f"checkpoint {path} is damaged: the checksum of {damaged} is wrong")
    content = read_file(path)
    model = content.get("model")
    name = _not_finite(model) if isinstance(model, dict) else None
    if name is not None:
        raise UserError(f"checkpoint {path} is damaged: {name} holds values that are not finite")
    return content


def _not_finite(state: Mapping[str, object]) -> str | None:
    """The name of the first tensor that holds values that are not finite, or None."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and not torch.isfinite(value).all():
            return name
    return None


def newest_checkpoint(folder: Path) -> tuple[Path, Content] | tuple[None, None]:
    """The newest valid checkpoint of a run's folder and its content.

    ``current.pth`` is always the newest; of the rest it is the one that got farthest. A damaged checkpoint is renamed,
    with a warning, so that it is neither tried again nor lost.
    """
    paths = checkpoint_paths(folder)
    positions = {path: _unless_damaged(_position_of, path) for path in paths}
    valid = [path for path in paths if positions[path] is not None]
    for path in sorted(valid, key=lambda path: (path.name == CURRENT, positions[path]), reverse=True):
        content = _unless_damaged(read_whole, path)
        if content:
            return path, content
    return None, None


def checkpoint_paths(folder: Path) -> list[Path]:
    """All checkpoints of a run's folder, damaged ones included; ``current.pth`` first."""
    return [path for path in [folder / CURRENT, folder / PREVIOUS, *reversed(_of_epochs(folder))] if path.exists()]


def _position_of(path: Path) -> Position:
    return read_position(read_file(path, mmap=True), path)


def _unless_damaged(read: Callable[[Path], T], path: Path) -> T | None:
    """The result of ``read`` for ``path``; None, with a warning and the file renamed, if the file is damaged.

    A file that the system does not give now may be sound: UnreadableFileError is raised.
    """
    try:
        return read(path)
    except UnreadableFileError:
        raise
    except UserError as error:
        renamed = path.with_name(path.name + ".damaged")
        path.replace(renamed)
        log.warning(f"{error}; it is renamed to {renamed.name}, and an older checkpoint is used")
        return None
