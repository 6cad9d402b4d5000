"""What the two feature scripts do with their options."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from common.errors import UserError
from common.process import exit_at_once
from datasets.feature_files import feature_file
from datasets.image_lists import list_images
from datasets.sample_images import write_sample_images
from learning.distributed.process_group import ProcessContext, environment_context, join, leave
from learning.extraction.extract import Summary, collect, default_workers, extract
from learning.extraction.extractors import extraction_device, load_extractors

SAMPLE_FOLDER = Path("sample_images")


def run(options: argparse.Namespace) -> None:
    """Computes and writes features as the options say; the exit status is 1 if any image failed."""
    script = Path(sys.argv[0]).name
    context = environment_context() or ProcessContext()
    try:
        summary = _extract(options)
    except UserError as error:
        sys.exit(f"{script}: {error.sentence}" if context.is_first else 1)
    except KeyboardInterrupt:
        print(f"{script}: interrupted; the same command goes on from here", file=sys.stderr)
        exit_at_once(130)
    sys.exit(1 if summary.failed else 0)


def _extract(options: argparse.Namespace) -> Summary:
    context = join("gloo")
    device = extraction_device(options.device, context)
    if device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // context.local_size))
    extractors = load_extractors(options.checkpoints, options.arch, device, options.amp, options.compile)
    source = options.input or write_sample_images(SAMPLE_FOLDER, n_dead_leaves=0)[0]
    images = list_images(source)
    # Features for a single file are kept one by one until all are there, so that this too can be interrupted.
    output_dir = options.output_dir
    if options.single_file:
        if options.single_file.exists() and not options.overwrite:
            raise UserError(f"--single_file {options.single_file} is there already; --overwrite makes it anew")
        output_dir = options.single_file.with_name(f".{options.single_file.name}.parts")
    n_workers = default_workers(device) if options.num_workers is None else options.num_workers
    overwrite = options.overwrite and not options.single_file
    summary = extract(
        images, extractors, output_dir, context, n_workers, options.batch_size, overwrite, options.max_pixels
    )
    leave()
    if context.is_first:
        folders = [str(feature_file(output_dir, kind, "*").parent) for kind in extractors]
        if options.single_file:
            collect(images, list(extractors), output_dir, options.single_file)
            folders = [str(options.single_file)]
        speed = f" ({summary.written / summary.seconds:.1f} images/s, waiting {summary.waited / summary.seconds:.0%})"
        print(
            f"{summary.written:,d} images written{speed if summary.written else ''}, {summary.skipped:,d} were there, "
            f"{len(summary.failed):,d} failed: {', '.join(folders)}"
        )
    return summary
