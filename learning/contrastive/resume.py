"""Continuing a training from a checkpoint: what must be the same, what may differ, and what that means."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from torch.amp import GradScaler
from torch.optim import Optimizer

from common.errors import UserError
from learning.contrastive.moco import MoCo
from learning.contrastive.training_state import (
    MODULE,
    Content,
    Position,
    newest_checkpoint,
    read_position,
    read_whole,
    unwrapped,
)
from learning.distributed.process_group import ProcessContext, from_first
from networks.checkpoint_formats import without_prefix

AUTO = "auto"

FIXED = ("views", "method", "arch", "head", "feat_dim", "nce_k", "optimizer")
"""Options that a checkpoint can be resumed with only if they were the same: they shape what is in it."""

EFFECTS = {
    "processes": "BatchNorm sees other batches, and sums are rounded in another order",
    "processes_per_node": "the key crops change places among others",
    "batch_size": "the images of a step are others, and so is the number of steps of an epoch",
    "compile": "sums are rounded in another order",
    "seed": "the order of the images, their crops and their distortions are others",
    "images": "the order of the images is another; in an epoch that goes on, some may come twice and some not at all",
}
"""What may differ, beyond options of training, and then can no longer be identical."""

TRAINING_OPTIONS = (
    "n_aug", "n_scale", "n_distortions", "patch_size", "swap_crops", "nce_t", "alpha", "epochs", "learning_rate",
    "lr_decay_epochs", "lr_decay_rate", "cosine", "warm", "weight_decay", "momentum", "amp", "compile",
)  # fmt: skip


def describe_run(options: argparse.Namespace, context: ProcessContext, n_images: int) -> dict[str, Any]:
    """What a checkpoint says of its run, to be compared when it is resumed."""
    names = (*FIXED, "batch_size", "seed", *TRAINING_OPTIONS)
    sizes = {"processes": context.world_size, "processes_per_node": context.local_size, "images": n_images}
    return {name: getattr(options, name) for name in names} | sizes


class Found(NamedTuple):
    """A checkpoint to continue from."""

    path: Path
    content: Content
    position: Position


def find_checkpoint(resume: str | None, folder: Path, context: ProcessContext) -> Found | None:
    """The checkpoint that ``--resume`` means: its path, ``auto`` for the newest of ``folder``, or None.

    The first process reads it for all: the others may see another disk, and a file is verified once. Raises UserError
    for a path that is no training checkpoint.
    """
    if resume is None:
        return None
    return from_first(lambda: _read(resume, folder), context)


def _read(resume: str, folder: Path) -> Found | None:
    path, content = newest_checkpoint(folder) if resume == AUTO else (Path(resume), read_whole(Path(resume)))
    if content is None:
        return None
    missing = [key for key in ("model", "model_ema", "contrast", "optimizer", "epoch") if key not in content]
    if missing:
        raise UserError(f"checkpoint {path} cannot be resumed: it lacks {', '.join(missing)}")
    not_dictionaries = [key for key in ("model", "model_ema", "contrast") if not isinstance(content[key], dict)]
    if not_dictionaries:
        raise UserError(f"checkpoint {path} cannot be resumed: its {', '.join(not_dictionaries)} are not dictionaries")
    return Found(path, content, read_position(content, path))


def check_same_training(found: Found, run: dict[str, Any]) -> list[str]:
    """Compares the checkpoint's run with this one: sentences on what can no longer be identical.

    Raises UserError, with both values, for another architecture, method, queue or optimiser.
    """
    saved = found.content.get("run")
    saved = saved if isinstance(saved, dict) else {}
    differing = [name for name in run if name in saved and _plain(saved[name]) != _plain(run[name])]
    for name in FIXED:
        if name in differing:
            raise UserError(
                f"checkpoint {found.path} was trained with --{name} {saved[name]}, this run has --{name} {run[name]}"
            )
    sentences = [
        f"{name} was {saved[name]} and is {run[name]}: {EFFECTS.get(name, 'the new value holds from here on')}"
        for name in differing
    ]
    if sentences:
        sentences.append(f"so the end will not be that of the run that {found.path} was saved by")
    return sentences


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def start_position(found: Found, run: dict[str, Any], steps_per_epoch: int) -> Position:
    """Where this run takes over: at the first image that the checkpoint's did not see, or a little before.

    With another batch size that image may lie inside a batch; the images before it in that batch come again.
    """
    epoch, step, global_step = found.position
    saved = found.content.get("run")
    saved_batch_size = saved.get("batch_size") if isinstance(saved, dict) else None
    step = step * (saved_batch_size or run["batch_size"]) // run["batch_size"]
    return Position(epoch, step, global_step if global_step >= 0 else epoch * steps_per_epoch)


def restore(found: Found, moco: MoCo, optimizer: Optimizer, scaler: GradScaler) -> None:
    """Puts the checkpoint's networks, queue and optimiser in place.

    Takes the released checkpoints too; what those lack (the queue's position) starts anew. Raises UserError for one
    that does not fit.
    """
    path, content = found.path, found.content
    memory = content["contrast"].get("memory")
    if memory is None or memory.shape != moco.queue.memory.shape:
        shape = None if memory is None else tuple(memory.shape)
        raise UserError(f"checkpoint {path}: its queue is {shape}, this run's {tuple(moco.queue.memory.shape)}")
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
