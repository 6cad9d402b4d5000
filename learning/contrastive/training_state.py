"""Training state on disk, in the layout of the released Re-IQA and PyContrast checkpoints.

``model`` holds the query network under ``module.encoder.*`` and ``module.head.*``, ``model_ema`` the key network
under the same names without ``module.``, ``contrast`` the queue as ``memory``. An exact resume needs, beside
``optimizer`` and ``epoch``, these entries: ``step`` and ``global_step`` (``Position``), ``queue_position``,
``grad_scaler``, and ``run``, the options of the run (``resume.describe_run``).
``probe`` is the state of the run's probe.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from common import log
from common.atomic_files import whole_file
from learning.contrastive.moco import MoCo
from networks.checkpoint_files import UnreadableFileError
from networks.checkpoint_formats import read_file, without_prefix
from networks.errors import UserError

MODULE = "module."
CURRENT = "current.pth"
PREVIOUS = "previous.pth"
OF_EPOCH = "ckpt_epoch_{}.pth"
BEST = "best.pth"

Content = dict[str, Any]


class Position(NamedTuple):
    """The progress of a training: complete epochs, steps done in the epoch after them, and steps done in all."""

    epoch: int = 0
    step: int = 0
    global_step: int = 0

    def after_step(self, steps_per_epoch: int) -> Position:
        """The position one step later."""
        finished_epochs, step = divmod(self.step + 1, steps_per_epoch)
        return Position(self.epoch + finished_epochs, step, self.global_step + 1)

    @property
    def at_epoch_end(self) -> bool:
        return self.step == 0

    def __str__(self) -> str:
        return f"epoch {self.epoch}" if self.step == 0 else f"step {self.step} of epoch {self.epoch + 1}"


class Learner(NamedTuple):
    """What a training step changes: networks and queue, optimiser, and the scaler of half-precision gradients."""

    moco: MoCo
    optimizer: Optimizer
    scaler: GradScaler


class Saved(NamedTuple):
    """A checkpoint: its file, its content, and the position at which it was saved."""

    path: Path
    content: Content
    position: Position

    @property
    def run(self) -> dict[str, Any]:
        """The description of the run that wrote it; empty in a checkpoint of another program."""
        run = self.content.get("run")
        return run if isinstance(run, dict) else {}


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside a DistributedDataParallel, or the network itself."""
    return network.get_submodule("module") if isinstance(network, nn.parallel.DistributedDataParallel) else network


def share_statistics(moco: MoCo) -> None:
    """Copies rank 0's running BatchNorm statistics to every process. Checkpoints contain these statistics.

    Training does not use them: its BatchNorm uses the statistics of the batch. The running statistics differ
    between processes: those of f_k always, those of f_q since DDP's last broadcast.
    """
    if dist.is_initialized():
        for buffer in (*moco.f_q.buffers(), *moco.f_k.buffers()):
            dist.broadcast(buffer, src=0)


def training_state(
    learner: Learner, position: Position, run: dict[str, Any], probe: dict[str, Any] | None = None
) -> Content:
    """The dictionary that is saved at ``position``; ``probe`` is the state of the run's probe.

    Raises UserError for weights that are not finite.
    """
    moco, optimizer, scaler = learner
    model = unwrapped(moco.f_q).state_dict()
    name = _first_not_finite(model)
    if name is not None:
        raise UserError(
            f"{name} is not finite after {position}: training stopped, the last checkpoint is kept; a lower "
            "--learning_rate, --warm or no --amp may help"
        )
    return {
        "model": {MODULE + name: value for name, value in model.items()},
        "model_ema": moco.f_k.state_dict(),
        "contrast": {"memory": moco.queue.memory},
        "queue_position": moco.queue.position,
        "optimizer": optimizer.state_dict(),
        "grad_scaler": scaler.state_dict(),
        **position._asdict(),
        "run": run,
        **({"probe": probe} if probe else {}),
    }


def load_training_state(saved: Saved, learner: Learner) -> None:
    """Loads networks, queue, optimiser and gradient scaler from the checkpoint.

    Also reads the released checkpoints, which lack the queue's position: it then starts at 0. Raises UserError for a
    checkpoint that does not fit.
    """
    moco, optimizer, scaler = learner
    path, content = saved.path, saved.content
    missing = [key for key in ("model", "model_ema", "contrast", "optimizer") if not isinstance(content.get(key), dict)]
    if missing:
        raise UserError(f"checkpoint {path} cannot be resumed: it lacks the entries {', '.join(missing)}")
    memory = content["contrast"].get("memory")
    if memory is None or memory.shape != moco.queue.memory.shape:
        shape = None if memory is None else tuple(memory.shape)
        raise UserError(f"checkpoint {path}: its queue is {shape}, this run's {tuple(moco.queue.memory.shape)}")
    model = {name: value for name, value in content["model"].items() if isinstance(name, str)}
    if any(name.startswith(MODULE) for name in model):
        model = without_prefix(model, MODULE)
    # The optimiser's options are this run's, not the saved ones.
    hyperparameters = [
        {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]
    try:
        unwrapped(moco.f_q).load_state_dict(model)
        moco.f_k.load_state_dict(content["model_ema"])
        optimizer.load_state_dict(content["optimizer"])
        for group, values in zip(optimizer.param_groups, hyperparameters, strict=True):
            group.update(values)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        first_lines = " ".join(str(error).split("\n")[:2])
        raise UserError(f"checkpoint {path} does not fit this run's network and optimiser: {first_lines}") from None
    moco.queue.memory.copy_(memory)
    moco.queue.position = int(content.get("queue_position", 0))
    if content.get("grad_scaler"):
        scaler.load_state_dict(content["grad_scaler"])


def weights_digest(moco: MoCo) -> str:
    """A short hash of all weights and the queue. Equal hashes mean that all these values are equal bit for bit."""
    total = hashlib.sha256()
    for module in (moco.f_q, moco.f_k, moco.queue):
        for value in module.state_dict().values():
            total.update(value.cpu().contiguous().numpy().data)
    return total.hexdigest()[:12]


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
        for path in [folder / BEST, current] if is_best else [current]:
            with whole_file(path) as temporary:
                try:
                    with open(temporary, "wb") as file:
                        torch.save(state, file)
                except RuntimeError as error:
                    # torch's writer hides the system's error (the disk is full) behind an error of its own.
                    raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
                if path == current and current.exists() and not keep_as:
                    current.replace(previous)
        if keep_as:
            with whole_file(folder / keep_as) as temporary:
                shutil.copyfile(current, temporary)
            previous.unlink(missing_ok=True)
    except UserError as error:
        older = "the checkpoint before it is kept" if checkpoint_paths(folder) else "there is no checkpoint yet"
        raise UserError(f"{error}; training stopped, {older}; make room, and --resume auto continues") from None
    for path in _of_epochs(folder)[keep:] if keep else ():
        path.unlink()


def _of_epochs(folder: Path) -> list[Path]:
    """The checkpoints kept by their epoch, newest first."""
    numbers = {path: path.stem.rpartition("_")[2] for path in folder.glob(OF_EPOCH.format("*"))}
    found = [path for path, number in numbers.items() if number.isdecimal()]
    return sorted(found, key=lambda path: int(numbers[path]), reverse=True)


def checkpoint_paths(folder: Path) -> list[Path]:
    """All checkpoints of a run's folder, damaged ones included, newest first."""
    return [path for path in [folder / CURRENT, folder / PREVIOUS, *_of_epochs(folder)] if path.exists()]


def newest_checkpoint(folder: Path, verify: bool = True) -> Saved | None:
    """The newest valid checkpoint of a run's folder; without ``verify`` the newest readable one, its tensors not read.

    With ``verify`` a damaged checkpoint is renamed, with a warning, so that it is neither tried again nor lost. A file
    that the system does not give now may be valid: UnreadableFileError is raised.
    """
    for path in checkpoint_paths(folder):
        try:
            return read_checkpoint(path, verify)
        except UserError as error:  # noqa: PERF203  (a run has few checkpoints)
            if verify and isinstance(error, UnreadableFileError):
                raise
            if verify:
                renamed = path.with_name(path.name + ".damaged")
                path.replace(renamed)
                log.warning(f"{error}; it is renamed to {renamed.name}, and an older checkpoint is used")
    return None


def read_checkpoint(path: Path, verify: bool = True) -> Saved:
    """A checkpoint; UserError if it cannot be read, and with ``verify`` if a checksum is wrong or weights not finite.

    Without ``verify``, tensors are read from the disk when they are first used.
    """
    if verify and zipfile.is_zipfile(path):  # torch's own format, but torch does not verify the checksums
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except OSError as error:
            raise UnreadableFileError(f"checkpoint {path} cannot be read: {error.strerror or error}") from None
        except Exception as error:  # flipped bits in a header can look like encryption or another compression
            raise UserError(f"checkpoint {path} is damaged: {error}") from None
        if damaged:
            raise UserError(f"checkpoint {path} is damaged: the checksum of {damaged} is wrong")
    content = read_file(path, mmap=not verify)
    model = content.get("model")
    name = _first_not_finite(model) if verify and isinstance(model, dict) else None
    if name is not None:
        raise UserError(f"checkpoint {path} is damaged: {name} holds values that are not finite")
    try:
        # The released checkpoints were saved at the end of an epoch and do not count steps: their global_step is -1.
        position = Position(int(content["epoch"]), int(content.get("step", 0)), int(content.get("global_step", -1)))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"checkpoint {path} cannot be resumed: it does not hold the number of its epoch") from None
    return Saved(path, content, position)


def _first_not_finite(state: Mapping[str, object]) -> str | None:
    """The name of the first tensor that holds values that are not finite, or None."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and not torch.isfinite(value).all():
            return name
    return None
