"""Continuing a training: which run and checkpoint, what must be the same, what may differ, and the consequences."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common import log
from common.errors import UserError
from common.names import AUTO, FIXED
from learning.contrastive.setup import Learner
from learning.contrastive.training_state import (
    CURRENT,
    MODULE,
    Content,
    Position,
    checkpoint_paths,
    newest_checkpoint,
    read_position,
    read_whole,
    unwrapped,
)
from learning.distributed.process_group import ProcessContext, from_first, from_rank, gather_objects
from networks.checkpoint_formats import read_file, without_prefix
from options.contrast import ContrastOptions

EFFECTS = {
    **ContrastOptions.on_resume(),
    "processes": "BatchNorm sees different batches, and sums are rounded in a different order",
    "processes_per_node": "the key crops are shuffled in groups of a different size",
    "images": "the order of the images changes; in the current epoch some may come twice and some not at all",
}
"""What a difference from a checkpoint's run means. FIXED: it is refused."""

IMAGE_LIST = "image_list"
"""The digest of the training images' names and their order, in a checkpoint's entry ``run``."""


class Found(NamedTuple):
    """A checkpoint to continue from."""

    path: Path
    content: Content
    position: Position


class Run(NamedTuple):
    """A run's folder, and the checkpoint from which it continues, if any."""

    folder: Path
    found: Found | None


def describe_run(options: ContrastOptions, context: ProcessContext, images: np.ndarray) -> dict[str, Any]:
    """The entry ``run`` of a checkpoint: options, sizes and images, which are compared when the run is resumed.

    ``images`` are the paths of the training images as bytes, (n,).
    """
    recorded = {name: getattr(options, name) for name in options.on_resume()}
    sizes = {"processes": context.world_size, "processes_per_node": context.local_size, "images": len(images)}
    return recorded | sizes | {IMAGE_LIST: list_digest(images)}


def list_digest(images: np.ndarray) -> str:
    """A digest of the paths and their order, without the folder that holds all of them: this one may be moved."""
    # The folder of the first and the last in alphabetical order is that of all paths between them.
    first, last = (path.split(b"/")[:-1] for path in (min(images), max(images)))
    shared = itertools.takewhile(lambda parts: parts[0] == parts[1], zip(first, last, strict=False))
    start = sum(len(part) + 1 for part, _ in shared)
    digest = hashlib.sha256()
    for path in images:
        digest.update(path[start:] + b"\0")
    return digest.hexdigest()[:16]


def find_run(options: ContrastOptions, context: ProcessContext, lock: Callable[[Path], object]) -> Run:
    """The run's folder, and the checkpoint that ``--resume`` means.

    Rank 0 reads it for all ranks: they may see another disk, and a file is verified once. With ``--resume auto`` it
    locks the folder by ``lock`` before it looks for the newest checkpoint. If another node's disk has a newer one, that
    node reads it. Raises UserError for a file that is no training checkpoint.
    """
    run = from_first(lambda: _find_run(options, lock), context)
    if options.resume == AUTO and context.world_size > context.local_size:
        own = options.model_path if run.folder.name == options.model_path.name else options.model_path / run.folder.name
        run = _with_newest_of_nodes(run, own, context)
    if options.resume == AUTO and run.found is None:
        log.info(f"no checkpoint in {run.folder}: starting afresh")
    return run


def _with_newest_of_nodes(run: Run, folder: Path, context: ProcessContext) -> Run:
    """``run``, with the checkpoint of the node that got farthest; ``folder`` is the run's folder on this node.

    torchrun numbers the nodes anew when one is replaced. Without a shared file system rank 0 can then be on a node that
    has none of the run's checkpoints.
    """
    own = _farthest(folder) if context.local_rank == 0 and not context.is_first else None
    positions = gather_objects(own, context)
    rank = max(range(len(positions)), key=lambda rank: positions[rank] or Position())
    farthest = positions[rank]
    if farthest is None or (run.found and run.found.position >= farthest):
        return run

    def read() -> Found | None:
        path, content = newest_checkpoint(folder)
        return _check_content(path, content) if path and content else None

    found = from_rank(rank, read, context)
    if found is None or (run.found and run.found.position >= found.position):
        return run
    log.info(f"node {rank // context.local_size} has a newer checkpoint of this run than node 0: it is used")
    return Run(run.folder, found)


def _farthest(folder: Path) -> Position | None:
    """The position of the newest readable checkpoint of a folder, unverified. Changes no file."""
    for path in checkpoint_paths(folder):
        with contextlib.suppress(UserError):  # damaged
            return read_position(read_file(path, mmap=True), path)
    return None


def _find_run(options: ContrastOptions, lock: Callable[[Path], object]) -> Run:
    folder = options.model_path / options.run_name
    if options.resume is None:
        if (folder / CURRENT).exists():
            log.warning(f"{folder / CURRENT} of an earlier run will be replaced; --resume auto would continue that run")
        return Run(folder, None)
    if options.resume != AUTO:
        path = Path(options.resume)
        if path.is_dir():
            newest = next(iter(checkpoint_paths(path)), None)
            advice = f"name the checkpoint in it: {newest}" if newest else "it holds no checkpoint of a training"
            raise UserError(f"--resume {path} is a folder; {advice}")
        return Run(folder, _check_content(path, read_whole(path)))
    folder = _folder_to_continue(options)
    lock(folder)
    newest, content = newest_checkpoint(folder)
    if newest is None or content is None:
        return Run(folder, None)
    return Run(folder, _check_content(newest, content))


def _folder_to_continue(options: ContrastOptions) -> Path:
    """The folder below ``model_path`` in which ``--resume auto`` continues.

    The folder with this run's exact name if it has a checkpoint. Else, of the folders whose checkpoints have the same
    ``FIXED`` options, the one written last: batch size, epochs, learning rate or ``--amp`` may differ. ``model_path``
    can be such a folder itself. Else the run is new and has its own name.
    """
    own = options.model_path / options.run_name
    if checkpoint_paths(own) or not options.model_path.is_dir():
        return own
    folders = [options.model_path, *sorted(folder for folder in options.model_path.iterdir() if folder.is_dir())]
    obstacles = {folder: _find_obstacle(folder, options) for folder in folders if checkpoint_paths(folder)}
    fitting = [folder for folder, obstacle in obstacles.items() if obstacle is None]
    if not fitting:
        for folder, obstacle in obstacles.items():
            log.warning(f"--resume auto does not continue the run in {folder}: {obstacle}")
        return own
    newest = max(fitting, key=lambda folder: max(path.stat().st_mtime for path in checkpoint_paths(folder)))
    more = f" (the newest of {len(fitting)} runs that fit)" if len(fitting) > 1 else ""
    log.info(f"--resume auto continues the run in {newest}{more}; another --model_path would start a new run")
    return newest


def _find_obstacle(folder: Path, options: ContrastOptions) -> str | None:
    """Why this run cannot continue from the newest readable checkpoint of ``folder``; None if it can.

    Changes no file.
    """
    for path in checkpoint_paths(folder):
        try:
            run = read_file(path, mmap=True).get("run")
        except UserError:  # damaged; dealt with once the folder is locked
            continue
        if not isinstance(run, dict):
            return f"{path.name} does not tell its options; --resume {path} continues from it"
        for name, effect in options.on_resume().items():
            if effect == FIXED and run.get(name) != getattr(options, name):
                return f"it was trained with --{name} {run.get(name)}, this run has --{name} {getattr(options, name)}"
        if has_level_head(run) != (options.level_weight > 0):
            return f"it was trained with --level_weight {run.get('level_weight', 0):g}"
        return None
    return "none of its checkpoints can be read"


def has_level_head(run: dict[str, Any]) -> bool:
    """Whether the network of a described run predicts levels; earlier versions of this program had none that did."""
    return bool(run.get("level_weight"))


def _check_content(path: Path, content: Content) -> Found:
    missing = [key for key in ("model", "model_ema", "contrast", "optimizer", "epoch") if key not in content]
    if missing:
        raise UserError(f"checkpoint {path} cannot be resumed: it lacks {', '.join(missing)}")
    not_dictionaries = [key for key in ("model", "model_ema", "contrast") if not isinstance(content[key], dict)]
    if not_dictionaries:
        raise UserError(f"checkpoint {path} cannot be resumed: its {', '.join(not_dictionaries)} are not dictionaries")
    return Found(path, content, read_position(content, path))


def continue_from(found: Found, learner: Learner, run: dict[str, Any], steps_per_epoch: int) -> Position:
    """Restores ``learner`` from a checkpoint, prints what differs from its run, and returns the position to start at.

    ``run`` describes this run. Raises UserError for a checkpoint that does not fit.
    """
    differences = find_differences(found, run)
    restore(found, learner)
    position = start_position(found, run["batch_size"], steps_per_epoch)
    log.info(f"resuming after {position} of {found.path}")
    if position.epoch >= run["epochs"]:
        log.info(f"nothing to do: {found.path} has completed {position.epoch} of --epochs {run['epochs']}")
    for sentence in differences:
        log.warning(sentence)
    if differences:
        log.warning(f"the results will therefore differ from those of the original run ({found.path})")
    return position


def find_differences(found: Found, run: dict[str, Any]) -> list[str]:
    """A sentence on each difference between the checkpoint's run and this one.

    Raises UserError, with both values, for a different architecture, method, queue or optimiser, and where only one of
    the two networks predicts levels.
    """
    saved = found.content.get("run")
    saved = saved if isinstance(saved, dict) else {}
    differing = [name for name in run if name in saved and _as_list(saved[name]) != _as_list(run[name])]
    for name in differing:
        if EFFECTS.get(name) == FIXED:
            raise UserError(
                f"checkpoint {found.path} was trained with --{name} {saved[name]}, this run has --{name} {run[name]}"
            )
    if has_level_head(saved) != has_level_head(run):
        raise UserError(
            f"checkpoint {found.path} was trained with --level_weight {saved.get('level_weight', 0):g}, this run has "
            f"--level_weight {run['level_weight']:g}: only one of the two networks predicts levels"
        )
    sentences = [
        f"{name} was {saved[name]} and is {run[name]}: {EFFECTS[name]}" for name in differing if name != IMAGE_LIST
    ]
    if IMAGE_LIST in differing and "images" not in differing:
        sentences.append(f"the list has other images, or another order of them: {EFFECTS['images']}")
    return sentences


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def start_position(found: Found, batch_size: int, steps_per_epoch: int) -> Position:
    """The position of the first image that the checkpoint's run has not seen, or a little before it.

    With another batch size that image may lie inside a batch; the images before it in that batch come again.
    """
    epoch, step, global_step = found.position
    saved = found.content.get("run")
    saved_batch_size = saved.get("batch_size") if isinstance(saved, dict) else None
    step = step * (saved_batch_size or batch_size) // batch_size
    if global_step < 0:
        global_step = epoch * steps_per_epoch
    return Position(epoch, step, global_step) if step < steps_per_epoch else Position(epoch + 1, 0, global_step)


def restore(found: Found, learner: Learner) -> None:
    """Loads networks, queue, optimiser and gradient scaler from the checkpoint.

    Also reads the released checkpoints, which lack the queue's position: it then starts at 0. Raises UserError for a
    checkpoint that does not fit.
    """
    moco, optimizer = learner.moco, learner.optimizer
    path, content = found.path, found.content
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
        learner.scaler.load_state_dict(content["grad_scaler"])
