"""Trains an encoder by momentum contrast. ``python main_contrast.py --help``; the README has complete commands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from common.errors import UserError
from common.process import REQUEUE, run_script

if TYPE_CHECKING:
    from learning.distributed.launch import Launch
    from options.contrast import ContrastOptions


def main() -> int:
    # Imported when they are needed: Ctrl-C is answered from here on, and --help needs no torch, which takes seconds.
    from common import log
    from options.contrast import parse_contrast_options

    options = parse_contrast_options()
    if sys.platform == "win32":
        raise UserError("training needs Linux or macOS; on Windows run it under WSL")
    from learning.distributed.launch import find_launch
    from learning.distributed.signals import exit_on_signals

    log.set_script("main_contrast.py")
    exit_on_signals()
    launch = find_launch(options)
    log.set_quiet(not launch.prints)
    for notice in options.notices:
        log.warning(notice)
    try:
        check_batch_size(options, launch.n_processes)
        return start(options, launch)
    except UserError:
        # A launcher starts several processes, which fail alike: one of them prints the sentence.
        if launch.prints:
            raise
        return 1


def check_batch_size(options: ContrastOptions, n_processes: int) -> None:
    """Raises UserError for a batch that cannot be divided among the processes."""
    if options.batch_size % n_processes:
        raise UserError(
            f"--batch_size {options.batch_size} images do not divide over {n_processes} processes; "
            f"give a multiple of {n_processes}"
        )
    if options.batch_size // n_processes * options.rows_per_image < 2:
        raise UserError("each process has one crop per step, and BatchNorm needs two: raise --batch_size or --n_aug")


def start(options: ContrastOptions, launch: Launch) -> int:
    """Trains in this process, or starts the processes of this node and waits for them; returns the exit status."""
    from learning.contrastive.trainer import train_process
    from learning.distributed.environment import set_address
    from learning.distributed.launch import start_node

    if options.multiprocessing_distributed:
        same = f", {options.run_name}, --seed {options.seed}"
        return start_node(train_process, (options, launch.backend), launch, same, options.join_timeout)
    if launch.context:
        set_address(launch.dist_url)
    train_process(options, launch.backend)
    return 0


if __name__ == "__main__":
    run_script(main, after_interrupt="interrupted before the first step", terminated=REQUEUE)
