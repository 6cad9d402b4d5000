"""The work of the two feature scripts."""

from __future__ import annotations

from pathlib import Path

import torch

from common import log
from common.errors import UserError
from datasets.features.files import FeatureFolder, feature_file, write_single_file
from datasets.images.lists import ImageListing, list_images
from datasets.sample_images import write_sample_images
from learning.distributed.environment import context_for_messages
from learning.distributed.process_group import from_first, leave
from learning.distributed.rendezvous import join
from learning.extraction.extract import Summary, extract_features
from learning.extraction.extractors import extraction_device, load_extractors
from options.features import FeatureOptions

SAMPLE_FOLDER = Path("sample_images")


def compute_features(options: FeatureOptions) -> int:
    """Computes and writes features as the options say; returns the exit status.

    It is 1 if an image or a folder could not be read. Raises UserError for a mistake that the user can fix.
    """
    log.set_quiet(not context_for_messages().is_first)  # also while it waits for the others
    context = join("gloo")
    device = extraction_device(options.compute.device, context)
    if device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // context.local_size))
    poolings = dict.fromkeys(options.checkpoints, options.pooling)
    extractors = load_extractors(options.checkpoints, poolings, options.compute, device)
    # Rank 0 lists the images: what the others found could differ, and standard input is read once.
    listing = from_first(lambda: _list(options), context)

    # Features for a single file are kept one by one until all are there: this resumes after an interruption too.
    target, overwrite = options.output_dir, options.overwrite
    if options.single_file:
        if options.single_file.exists() and not overwrite:
            raise UserError(f"--single_file {options.single_file} exists already; --overwrite replaces it")
        target, overwrite = options.single_file.with_name(f".{options.single_file.name}.parts"), False
    folder = FeatureFolder(target, list(extractors), context.rank)
    summary = extract_features(listing.images, extractors, folder, context, options.compute, overwrite)
    leave()
    if context.is_first:
        targets = [str(feature_file(target, kind, "*").parent) for kind in extractors]
        if options.single_file:
            write_single_file(options.single_file, FeatureFolder(target, list(extractors)), listing.images)
            targets = [str(options.single_file)]
        log.info(_in_words(summary, listing, targets))
    return 1 if summary.failed or listing.unreadable else 0


def _list(options: FeatureOptions) -> ImageListing:
    listing = list_images(options.input or [write_sample_images(SAMPLE_FOLDER, n_dead_leaves=0)[0]])
    for sentence in listing.unreadable:
        log.error(sentence)
    return listing


def _in_words(summary: Summary, listing: ImageListing, targets: list[str]) -> str:
    speed = ""
    if summary.written:
        speed = f" ({summary.written / summary.seconds:.1f} images/s, waiting {summary.waited / summary.seconds:.0%})"
    stale = f", {summary.stale:,d} of them anew since their files have changed" if summary.stale else ""
    return (
        f"{summary.written:,d} images written{speed}{stale}, {summary.skipped:,d} existed already, "
        f"{len(summary.failed):,d} failed{listing.account()}: {', '.join(targets)}"
    )
