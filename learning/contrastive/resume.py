"""Continuing a training: which run and checkpoint, what must be the same, what may differ, and the consequences."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common import log
from common.atomic_files import check_writable, remove_leftovers
from common.folder_lock import hold
from common.names import AUTO, FIXED
from learning.contrastive.training_state import (
    CURRENT,
    Learner,
    Position,
    Saved,
    checkpoint_paths,
    load_training_state,
    newest_checkpoint,
    read_checkpoint,
)
from learning.distributed.environment import ProcessContext
from learning.distributed.process_group import from_first, from_rank, gather_objects
from networks.errors import UserError
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


@contextlib.contextmanager
def open_run(
    options: ContrastOptions,
    context: ProcessContext,
    description: dict[str, Any],
    learner: Learner,
    steps_per_epoch: int,
    while_waiting: Callable[[], object],
) -> Iterator[tuple[Path, Position, Saved | None]]:
    """Finds the run's folder, loads the checkpoint that ``--resume`` means into ``learner``, and locks the folder.

    Gives the folder, the position at which the run starts, and the checkpoint, if there is one. ``description`` is this
    run's ``describe_run``. Rank 0 reads the checkpoint for all ranks: they may see another disk, and a file is verified
    once. Rank 0 locks the folder, against other trainings that would write there, and calls ``while_waiting`` while it
    waits for the lock, which is released at the end of the block. Raises UserError for a checkpoint that cannot be
    resumed, a folder that cannot be written to, and a lock that another process holds.
    """
    folder = from_first(lambda: _find_folder(options, description), context)
    with contextlib.ExitStack() as locks:

        def lock() -> None:
            if context.is_first:
                locks.enter_context(hold(folder, while_waiting))
                check_writable(folder)
                remove_leftovers(folder)

        if options.resume == AUTO:
            lock()  # before it is read: another process may be writing there
        saved = from_first(lambda: _read_resumed(options, folder), context)
        if options.resume == AUTO and context.n_nodes > 1:
            saved = _newest_of_nodes(saved, options, folder, context)
        start = Position()
        if saved:
            start = _continue_from(saved, description, learner, steps_per_epoch)
        elif options.resume == AUTO:
            log.info(f"no checkpoint in {folder}: starting afresh")
        if options.resume != AUTO:
            lock()  # not earlier, so that a mistake leaves no empty folder
        yield folder, start, saved


def _find_folder(options: ContrastOptions, description: dict[str, Any]) -> Path:
    """The folder with this run's name below ``model_path``; with ``--resume auto`` perhaps another one, to continue.

    The folder with this run's exact name if it has a checkpoint. Else, of the folders whose checkpoints have the same
    ``FIXED`` options, the one written last: batch size, epochs, learning rate or ``--amp`` may differ. ``model_path``
    can be such a folder itself. Else the run is new and has its own name.
    """
    own = options.model_path / options.run_name
    if options.resume != AUTO or checkpoint_paths(own) or not options.model_path.is_dir():
        return own
    folders = [options.model_path, *sorted(folder for folder in options.model_path.iterdir() if folder.is_dir())]
    fitting, obstacles = [], {}
    for folder in filter(checkpoint_paths, folders):  # folders with checkpoints
        newest = newest_checkpoint(folder, verify=False)
        if newest is None:
            obstacles[folder] = "none of its checkpoints can be read"
        elif not newest.run:
            path = newest.path
            obstacles[folder] = f"{path.name} does not tell its options; --resume {path} continues from it"
        elif obstacle := _find_obstacle(newest.run, description):
            obstacles[folder] = f"it {obstacle}"
        else:
            fitting.append(folder)
    if not fitting:
        for folder, obstacle in obstacles.items():
            log.warning(f"--resume auto does not continue the run in {folder}: {obstacle}")
        return own
    latest = max(fitting, key=lambda folder: max(path.stat().st_mtime for path in checkpoint_paths(folder)))
    more = f" (the newest of {len(fitting)} runs that fit)" if len(fitting) > 1 else ""
    log.info(f"--resume auto continues the run in {latest}{more}; another --model_path would start a new run")
    return latest


def _find_obstacle(run: dict[str, Any], description: dict[str, Any]) -> str | None:
    """How another run, by its description, was trained such that this run cannot continue it; None if it can."""
    for name, effect in EFFECTS.items():
        if effect == FIXED and name in run and run[name] != description[name]:
            return f"was trained with --{name} {run[name]}, this run has --{name} {description[name]}"
    weight, own_weight = run.get("level_weight", 0), description["level_weight"]
    if bool(weight) != bool(own_weight):
        return (
            f"was trained with --level_weight {weight:g}, this run has --level_weight {own_weight:g}: only one of the "
            "two networks predicts levels"
        )
    return None


def _read_resumed(options: ContrastOptions, folder: Path) -> Saved | None:
    """The checkpoint that ``--resume`` names, or with ``auto`` the newest one of the run's folder."""
    if options.resume == AUTO:
        return newest_checkpoint(folder)
    if options.resume is None:
        if (folder / CURRENT).exists():
            log.warning(f"{folder / CURRENT} of an earlier run will be replaced; --resume auto would continue that run")
        return None
    path = Path(options.resume)
    if path.is_dir():
        newest = next(iter(checkpoint_paths(path)), None)
        advice = f"name the checkpoint in it: {newest}" if newest else "it holds no checkpoint of a training"
        raise UserError(f"--resume {path} is a folder; {advice}")
    return read_checkpoint(path)


def _newest_of_nodes(
    saved: Saved | None, options: ContrastOptions, folder: Path, context: ProcessContext
) -> Saved | None:
    """``saved``, which rank 0 has found in ``folder``, or the checkpoint of the node that got farther.

    torchrun numbers the nodes anew when one is replaced. Without a shared file system rank 0 can then be on a node that
    has none of the run's checkpoints.
    """
    own = options.model_path if folder.name == options.model_path.name else options.model_path / folder.name
    found = newest_checkpoint(own, verify=False) if context.local_rank == 0 else None
    positions = gather_objects(found.position if found else Position(), context)
    rank = positions.index(max(positions))
    if rank == 0:
        return saved
    other = from_rank(rank, lambda: newest_checkpoint(own), context)
    if other is None or (saved and saved.position >= other.position):
        return saved
    log.info(f"node {rank // context.local_size} has a newer checkpoint of this run than node 0: it is used")
    return other


def _continue_from(saved: Saved, description: dict[str, Any], learner: Learner, steps_per_epoch: int) -> Position:
    """Loads a checkpoint into ``learner``, prints what differs from its run, and returns the position to start at.

    That is the position of the first image that the checkpoint's run has not seen, or a little before it: with another
    batch size that image may lie inside a batch, and the images before it in that batch come again. Raises UserError
    for a checkpoint that does not fit.
    """
    differences = find_differences(saved, description)
    load_training_state(saved, learner)
    epoch, step, global_step = saved.position
    if global_step < 0:  # not counted
        global_step = epoch * steps_per_epoch
    batch_size = description["batch_size"]
    step = step * saved.run.get("batch_size", batch_size) // batch_size
    start = Position(epoch, step, global_step) if step < steps_per_epoch else Position(epoch + 1, 0, global_step)
    log.info(f"resuming after {start} of {saved.path}")
    if start.epoch >= description["epochs"]:
        log.info(f"nothing to do: {saved.path} has completed {start.epoch} of --epochs {description['epochs']}")
    for sentence in differences:
        log.warning(sentence)
    if differences:
        log.warning(f"the results will therefore differ from those of the original run ({saved.path})")
    return start


def find_differences(saved: Saved, description: dict[str, Any]) -> list[str]:
    """A sentence on each difference between the checkpoint's run and this one.

    Raises UserError, with both values, for a different architecture, method, queue or optimiser, and where only one of
    the two networks predicts levels.
    """
    run = saved.run
    obstacle = _find_obstacle(run, description)
    if obstacle:
        raise UserError(f"checkpoint {saved.path} {obstacle}")
    differing = [name for name in description if name in run and run[name] != description[name]]
    sentences = [
        f"{name} was {run[name]} and is {description[name]}: {EFFECTS[name]}"
        for name in differing
        if name != IMAGE_LIST
    ]
    if IMAGE_LIST in differing and "images" not in differing:
        sentences.append(f"the list has other images, or another order of them: {EFFECTS['images']}")
    return sentences
