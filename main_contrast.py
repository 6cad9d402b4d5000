"""Trains an encoder by momentum contrast. ``python main_contrast.py --help``; the README has whole commands."""

import sys
from pathlib import Path

from common.errors import UserError
from datasets.training_images import read_training_csv
from learning.contrastive.trainer import train_process
from learning.distributed.launch import enter_slurm_group, find_launch, start_node
from learning.distributed.process_group import choose_backend
from learning.distributed.signals import exit_on_signals
from options.contrast import parse_contrast_options


def main() -> None:
    options = parse_contrast_options()
    exit_on_signals()
    launch = None
    try:
        launch = find_launch(options)
        options.dist_backend = choose_backend(options.dist_backend)
        if options.batch_size % launch.n_processes:
            raise UserError(
                f"--batch_size {options.batch_size} images do not divide over {launch.n_processes} processes; "
                f"give a multiple of {launch.n_processes}"
            )
        rows = options.n_scale * (options.n_aug + 1) if options.views == "quality" else 1
        if options.batch_size // launch.n_processes * rows < 2:
            raise UserError(
                "each process has one crop per step, and BatchNorm needs two: raise --batch_size or --n_aug"
            )
        if launch.speaks:
            for notice in options.notices:
                print(notice)
            if not options.data_folder:
                read_training_csv(options.csv_path).check_existence()
            elif not Path(options.data_folder).is_dir():
                raise UserError(f"--data_folder {options.data_folder} is not a folder")
        if options.multiprocessing_distributed:
            print(
                f"node {launch.node} of {launch.n_nodes}: {launch.n_per_node} processes, {options.dist_backend}",
                flush=True,
            )
            same = f", {options.run_name}, --seed {options.seed}"
            start_node(train_process, (options,), launch, same, options.join_timeout)
        else:
            store = enter_slurm_group(launch, options.join_timeout) if launch.by_slurm else None
            train_process(options)
            del store
    except UserError as error:
        # What a launcher starts several times fails several times; one sentence is enough.
        sys.exit(f"main_contrast.py: {error.sentence}" if launch is None or launch.speaks else 1)


if __name__ == "__main__":
    main()
