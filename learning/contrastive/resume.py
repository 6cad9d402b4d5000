"""Continuing a training: which run and checkpoint, what must be the same, what may differ, and the consequences."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common import log
from common.atomic_files import remove_leftovers
from common.folder_lock import hold
from common.names import AUTO, FIXED
from learning.contrastive.training_state import (
    Learner,
    Position,
    Saved,
    checkpoint_paths,
    load_training_state,
    newest_checkpoint,
    read_checkpoint,
)
from learning.distributed.environment import ProcessContext
from learning.distributed.process_group import from_first
from networks.errors import UserError
from options.contrast import ContrastOptions

IMAGE_LIST = "image_list"
"""The digest of the training images' names and their order, in a checkpoint's entry ``run``."""

EFFECTS = {
    **ContrastOptions.on_resume(),
    "processes": "BatchNorm sees different batches, and sums are rounded in a different order",
    "processes_per_node": "the key crops are shuffled in groups of a different size",
    IMAGE_LIST: "the order of the images changes; in the current epoch some may come twice and some not at all",
    "init": FIXED,
}
"""What a difference from a checkpoint's run means. FIXED: it is refused."""

OF_MACHINES = ("processes", "processes_per_node")
"""What may differ when a finished run is started once more, as by a launcher that has replaced a node."""

IMAGE_FOLDER = "image_folder"
"""The folder that holds all training images, in a checkpoint's entry ``run``. It may be moved."""


def describe_run(options: ContrastOptions, context: ProcessContext, images: np.ndarray) -> dict[str, Any]:
    """The entry ``run`` of a checkpoint: options, sizes and images, which are compared when the run is resumed.

    ``images`` are the paths of the training images as bytes, (n,).
    """
    recorded = {name: getattr(options, name) for name in options.on_resume()}
    sizes = {"processes": context.world_size, "processes_per_node": context.local_size, "images": len(images)}
    folder, digest = describe_images(images)
    described = recorded | sizes | {IMAGE_FOLDER: folder, IMAGE_LIST: digest}
    if options.resume in (None, AUTO):  # a named checkpoint is continued whatever its run started from
        content = options.init and hashlib.sha256(options.init.read_bytes()).hexdigest()[:16]
        described["init"] = f"(SHA-256 {content})" if content else "none"
    return described


def describe_images(images: np.ndarray) -> tuple[str, str]:
    """The folder that holds all images, and a digest of their paths below it and their order."""
    # The folder of the first and the last in alphabetical order is that of all paths between them.
    shared = os.path.commonprefix([min(images), max(images)])  # noqa: RUF071  (cut behind its last /)
    folder = shared[: shared.rfind(b"/") + 1]
    digest = hashlib.sha256()
    for path in images:
        digest.update(path[len(folder) :] + b"\0")
    return folder.decode(errors="replace"), digest.hexdigest()[:16]


@contextlib.contextmanager
def open_run(
    options: ContrastOptions,
    context: ProcessContext,
    description: dict[str, Any],
    learner: Learner,
    steps_per_epoch: int,
) -> Iterator[tuple[Path, Position, Saved | None]]:
    """Finds the run's folder, loads the checkpoint that ``--resume`` means into ``learner``, and locks the folder.

    Gives the folder, the position at which the run starts, and the checkpoint, if there is one. ``description`` is this
    run's ``describe_run``. Rank 0 reads the checkpoint for all ranks: they may see another disk, and a file is verified
    once. Rank 0 locks the folder, against other trainings that would write there, until the end of the block. Raises
    UserError for a checkpoint that cannot be resumed, a folder that cannot be written to, and a lock that another
    process holds.
    """
    folder = from_first(lambda: _find_folder(options, description), context)
    # A named checkpoint is read before the lock makes the folder, so that a wrong name leaves none. The folder's own
    # newest one is read after the lock: another process may be writing it.
    saved = None if options.resume == AUTO else from_first(lambda: _read_resumed(options, folder), context)
    with hold(folder) if context.is_first else contextlib.nullcontext():
        if context.is_first:
            remove_leftovers(folder)
        if options.resume == AUTO:
            saved = from_first(lambda: _read_resumed(options, folder), context)
        start = Position()
        if saved:
            start = _continue_from(saved, description, learner, steps_per_epoch)
        elif options.resume == AUTO:
            log.info(f"no checkpoint in {folder}: starting afresh")
        if options.resume != AUTO and context.is_first:
            _check_replaced(folder, saved, description)
        yield folder, start, saved


def _find_folder(options: ContrastOptions, description: dict[str, Any]) -> Path:
    """The folder with this run's name below ``model_path``; with ``--resume auto`` perhaps another one, to continue.

    The folder with this run's exact name if it has a checkpoint. Else, of the folders whose checkpoints have the same
    ``FIXED`` options, the one written last: batch size, epochs, learning rate or ``--amp`` may differ, unless the
    other run is complete. ``model_path`` can be such a folder itself. Else the run is new and has its own name.
    """
    own = options.model_path / options.run_name
    if options.resume != AUTO or checkpoint_paths(own) or not options.model_path.is_dir():
        return own
    folders = [options.model_path, *sorted(folder for folder in options.model_path.iterdir() if folder.is_dir())]
    fitting, obstacles = [], {}
    for folder in filter(checkpoint_paths, folders):  # folders with checkpoints
        newest = newest_checkpoint(folder, verify=False)
        if newest is None or not newest.run:
            obstacles[folder] = "its checkpoints are unreadable or lack their options; --resume CHECKPOINT names one"
        elif obstacle := _find_obstacle(newest, description):
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


def _find_differing(run: dict[str, Any], description: dict[str, Any]) -> dict[str, str]:
    """Name -> a sentence, for what differs between another run and this one and is known of both."""
    differing = {
        name: f"{name} was {run[name]} and is {value}"
        for name, value in description.items()
        if run.get(name, value) != value
    }
    if IMAGE_LIST in differing:
        differing[IMAGE_LIST] = "the list has other images, or another order of them"
    return differing


def _find_obstacle(saved: Saved, description: dict[str, Any]) -> str | None:
    """Why this run cannot continue the run of a checkpoint; None if it can."""
    run = saved.run
    differing = _find_differing(run, description)
    for name in differing:
        if EFFECTS.get(name) == FIXED:
            return f"was trained with --{name} {run[name]}, this run has --{name} {description[name]}"
    if saved.position.epoch >= description["epochs"] and differing.keys() - OF_MACHINES:
        why = "; ".join(sentence for name, sentence in differing.items() if name not in OF_MACHINES)
        return f"is complete, and differs from this run: {why}"
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
        return None
    path = Path(options.resume)
    if path.is_dir():
        newest = next(iter(checkpoint_paths(path)), None)
        advice = f"name the checkpoint in it: {newest}" if newest else "it holds no checkpoint of a training"
        raise UserError(f"--resume {path} is a folder; {advice}")
    return read_checkpoint(path)


def _check_replaced(folder: Path, saved: Saved | None, description: dict[str, Any]) -> None:
    """Raises UserError if this run would replace checkpoints of another run in its folder; warns for an equal run's.

    A run that continues from the folder's newest checkpoint, ``saved``, replaces nothing.
    """
    there = newest_checkpoint(folder, verify=False)
    if there is None:
        return
    if saved and saved.path.resolve().parent == folder.resolve() and saved.position == there.position:
        return
    differing = _find_differing(there.run, description)
    if there.run and not differing:
        log.warning(f"{there.path} of an earlier run will be replaced; --resume auto would continue that run")
        return
    why = "; ".join(differing.values()) or "it does not tell its options"
    raise UserError(
        f"{there.path} is of another run, which this run would replace: {why}; name another --model_path and --tb_path"
    )


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
    for sentence in _find_differing(saved.run, {IMAGE_FOLDER: description[IMAGE_FOLDER]}).values():
        log.warning(f"{sentence}: the images must be the same")
    for sentence in differences:
        log.warning(sentence)
    if differences:
        log.warning(f"the results will therefore differ from those of the original run ({saved.path})")
    return start


def find_differences(saved: Saved, description: dict[str, Any]) -> list[str]:
    """A sentence on each difference between the checkpoint's run and this one.

    Raises UserError, with both values, for a different architecture, method, queue or optimiser, where only one of the
    two networks predicts levels, and where the checkpoint's run is complete.
    """
    obstacle = _find_obstacle(saved, description)
    if obstacle:
        raise UserError(f"checkpoint {saved.path} {obstacle}; another --model_path starts a new run")
    differing = _find_differing(saved.run, description).items()
    return [f"{sentence}: {EFFECTS[name]}" for name, sentence in differing if name in EFFECTS]
