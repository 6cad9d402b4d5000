"""Trains an encoder by momentum contrast. ``python main_contrast.py --help``; the README has whole commands."""

import sys
from pathlib import Path

from common.errors import UserError
from datasets.training_images import read_training_csv
from learning.distributed import choose_backend, environment_place, processes_per_node, start_node
from learning.trainer import train_process
from options.contrast import parse_contrast_options


def main() -> None:
    options = parse_contrast_options()
    launched = environment_place()
    n_nodes, n_per_node = max(1, options.world_size), 1
    if options.multiprocessing_distributed:
        n_per_node = processes_per_node(options.nproc_per_node)
    n_processes = launched.world_size if launched else n_nodes * n_per_node
    try:
        options.dist_backend = choose_backend(options.dist_backend)
        if options.batch_size % n_processes:
            raise UserError(
                f"--batch_size {options.batch_size} images do not divide over {n_processes} processes; "
                f"give a multiple of {n_processes}"
            )
        rows = options.n_scale * (options.n_aug + 1) if options.views == "quality" else 1
        if options.batch_size // n_processes * rows < 2:
            raise UserError(
                "each process has one crop per step, and BatchNorm needs two: raise --batch_size or --n_aug"
            )
        if launched is None or launched.is_first:
            for notice in options.notices:
                print(notice)
            if not options.data_folder:
                read_training_csv(options.csv_path).check_existence()
            elif not Path(options.data_folder).is_dir():
                raise UserError(f"--data_folder {options.data_folder} is not a folder")
        if launched or not options.multiprocessing_distributed:
            train_process(options)
        else:
            node = max(0, options.rank)
            print(f"node {node} of {n_nodes}: {n_per_node} processes, {options.dist_backend}", flush=True)
            start_node(train_process, (options,), n_nodes, node, n_per_node, options.dist_url)
    except UserError as error:
        # What torchrun starts several times fails several times; one sentence is enough.
        sys.exit(f"main_contrast.py: {error.sentence}" if launched is None or launched.is_first else 1)


if __name__ == "__main__":
    main()
