"""Training state on disk, in the layout of the released Re-IQA and PyContrast checkpoints.

``model`` holds the query network under ``module.encoder.*`` and ``module.head.*``, ``model_ema`` the key network
under the same names without ``module.``, ``contrast`` the queue as ``memory``; beside ``optimizer`` and ``epoch``
there is what an exact continuation needs: ``queue_position``, ``grad_scaler`` and ``run``, the options that shape
the networks and the queue.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from common.errors import UserError
from common.files import whole_file
from learning.moco import MoCo
from networks.weights import read_file, with_prefix, without_prefix

MODULE = "module."
CURRENT = "current.pth"


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside a DistributedDataParallel, or the network itself."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network


def share_key_statistics(moco: MoCo) -> None:
    """Gives every process the first one's BatchNorm statistics of the key network.

    They play no part in training, where BatchNorm uses the batch's own, and drift apart between processes; DDP
    takes care of the query network's.
    """
    if dist.is_initialized():
        for buffer in moco.key_network.buffers():
            dist.broadcast(buffer, src=0)


def training_state(
    moco: MoCo, optimizer: Optimizer, scaler: GradScaler, epoch: int, run: dict[str, Any]
) -> dict[str, Any]:
    """The dictionary that is saved after ``epoch``."""
    return {
        "model": with_prefix(unwrapped(moco.query_network).state_dict(), MODULE),
        "model_ema": moco.key_network.state_dict(),
        "contrast": {"memory": moco.queue.memory},
        "queue_position": moco.queue.position,
        "optimizer": optimizer.state_dict(),
        "grad_scaler": scaler.state_dict(),
        "epoch": epoch,
        "run": run,
    }


def save_checkpoint(state: dict[str, Any], folder: Path, keep_as: str | None) -> None:
    """Writes ``current.pth`` and, with ``keep_as``, the same under that name; each whole or not at all."""
    with whole_file(folder / CURRENT) as temporary:
        torch.save(state, temporary)
    if keep_as:
        with whole_file(folder / keep_as) as temporary:
            shutil.copyfile(folder / CURRENT, temporary)


def resume_training(
    path: str | os.PathLike, moco: MoCo, optimizer: Optimizer, scaler: GradScaler, run: dict[str, Any]
) -> int:
    """Restores everything from a checkpoint and returns the epoch after which it was saved.

    Reads the released checkpoints too; what those lack (the queue's position) starts anew. Raises UserError for a
    file that is no training checkpoint, and, with both values, for one of another architecture, method or queue.
    """
    content = read_file(path)
    missing = [key for key in ("model", "model_ema", "contrast", "optimizer", "epoch") if key not in content]
    if missing:
        raise UserError(f"checkpoint {path} cannot be resumed: it lacks {', '.join(missing)}")
    not_dictionaries = [key for key in ("model", "model_ema", "contrast") if not isinstance(content[key], dict)]
    if not_dictionaries:
        raise UserError(f"checkpoint {path} cannot be resumed: its {', '.join(not_dictionaries)} are not dictionaries")
    saved_run = content.get("run")
    for name, value in (saved_run if isinstance(saved_run, dict) else {}).items():
        if name in run and run[name] != value:
            raise UserError(f"checkpoint {path} was trained with --{name} {value}, this run has --{name} {run[name]}")
    memory = content["contrast"].get("memory")
    if memory is None or memory.shape != moco.queue.memory.shape:
        found = None if memory is None else tuple(memory.shape)
        raise UserError(f"checkpoint {path}: its queue is {found}, this run's {tuple(moco.queue.memory.shape)}")
    model = {name: value for name, value in content["model"].items() if isinstance(name, str)}
    if any(name.startswith(MODULE) for name in model):
        model = without_prefix(model, MODULE)
    # What this run's options say of the optimiser holds, not what was saved.
    hyperparameters = [
        {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]
    try:
        unwrapped(moco.query_network).load_state_dict(model)
        moco.key_network.load_state_dict(content["model_ema"])
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
    return int(content["epoch"])
