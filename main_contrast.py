"""Trains an encoder by momentum contrast. ``python main_contrast.py --help``; the README has complete commands."""

from __future__ import annotations

import sys

from common import log
from common.errors import UserError
from common.process import REQUEUE, run_script
from options.contrast import parse_contrast_options


def main() -> int:
    options = parse_contrast_options()
    if sys.platform == "win32":
        raise UserError("training needs Linux or macOS; on Windows run it under WSL")
    # Imported below the options: --help needs no torch, which takes seconds.
    from learning.contrastive.trainer import train_process
    from learning.distributed.environment import set_address
    from learning.distributed.launch import find_launch, start_node
    from learning.distributed.signals import exit_on_signals

    log.set_script("main_contrast.py")
    exit_on_signals()
    launch = find_launch(options)
    log.set_quiet(not launch.prints)
    for notice in options.notices:
        log.warning(notice)
    try:
        options.check_batch_size(launch.n_processes)
        if options.multiprocessing_distributed:  # starts the processes of this node and waits for them
            same = f", {options.run_name}, --seed {options.seed}"
            return start_node(train_process, (options, launch.backend), launch, same, options.join_timeout)
        if launch.context:
            set_address(launch.dist_url)
        train_process(options, launch.backend)
        return 0
    except UserError:
        # A launcher starts several processes, which fail alike: one of them prints the sentence.
        if launch.prints:
            raise
        return 1


if __name__ == "__main__":
    run_script(main, after_interrupt="interrupted before the first step", terminated=REQUEUE)
