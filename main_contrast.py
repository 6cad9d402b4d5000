"""Trains an encoder by momentum contrast. ``python main_contrast.py --help``; the README has complete commands."""

from __future__ import annotations

import sys

from common import log
from common.process import REQUEUE, run_script
from networks.errors import UserError
from options.contrast import parse_contrast_options


def main() -> int:
    options = parse_contrast_options()
    if sys.platform == "win32":
        raise UserError("training needs Linux or macOS; on Windows run it under WSL")
    # Imported below the options: --help needs no torch, which takes seconds.
    from learning.contrastive.trainer import train
    from learning.distributed.launch import choose_backend, exit_on_signals, find_launch, run_rank, start_node

    exit_on_signals()
    backend, member = choose_backend(options), find_launch(options)
    starts_others = options.multiprocessing_distributed
    prints = starts_others or member is None or member.context.is_first  # the messages meant for the complete job
    log.set_quiet(not prints)
    for notice in options.notices:
        log.warning(notice)
    try:
        options.check_batch_size(member.context.world_size if member else 1)
        if starts_others and member:
            return start_node(train, options, backend, member)
        run_rank(train, options, backend, member)
        return 0
    except UserError:
        # A launcher starts several processes, which fail alike: one of them prints the sentence.
        if prints:
            raise
        return 1


if __name__ == "__main__":
    run_script(main, after_interrupt="interrupted before the first step", terminated=REQUEUE)
