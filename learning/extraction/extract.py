"""Features of any number of images, into files: list the images, plan what is missing, decode, compute, write."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from common import log
from datasets.features.files import FeatureFolder, claim_folder, feature_file
from datasets.features.reading import write_single_file
from datasets.images.lists import ImageListing, ListedImage, list_images
from learning.distributed.environment import ProcessContext, find_membership
from learning.distributed.process_group import from_first, gather_objects, join, leave
from learning.extraction.compute import Summary, features_of, load_extractors
from networks.embedded import ENCODERS, default_encoder
from networks.errors import UserError
from networks.features import FeatureExtractor
from networks.names import LAYER4_MEAN, with_max_side
from options.images import ComputeOptions, FeatureOptions


def extract(options: FeatureOptions) -> int:
    """The work of the two feature scripts; returns the exit status.

    It is 1 if an image or a folder could not be read. Raises UserError for a mistake that the user can fix.
    """
    membership = find_membership()
    log.set_quiet(membership is not None and not membership.context.is_first)  # also while it waits for the others
    context = join(membership, "gloo")
    checkpoints, poolings = {}, {}
    for kind, named in options.checkpoints.items():
        checkpoints[kind], pooling = (named, LAYER4_MEAN) if named else default_encoder(kind)
        poolings[kind] = options.pooling or pooling
        if named is None and checkpoints[kind] == ENCODERS[kind]:
            log.info(f"{kind} encoder: the embedded one, --pooling {poolings[kind]}")
    extractors = load_extractors(checkpoints, poolings, options.compute, context.local_rank)
    if options.compute.threads is None and all(one.device.type == "cpu" for one in extractors.values()):
        torch.set_num_threads(max(1, torch.get_num_threads() // context.local_size))

    # Features for a single file are kept one by one until all are there: this resumes after an interruption too.
    target, overwrite = options.output_dir, options.overwrite
    if options.single_file:
        target, overwrite = options.single_file.with_name(f".{options.single_file.name}.parts"), False
    with contextlib.ExitStack() as locks:

        def start() -> ImageListing:
            if options.single_file:
                locks.enter_context(_locked(target, options.single_file, options.overwrite))
            return _list(options.input)

        # Rank 0 lists the images: what the others found could differ, and standard input is read once.
        listing = from_first(start, context)
        folder = FeatureFolder(target, list(extractors), context.rank)
        summary = extract_features(listing.images, extractors, folder, context, options.compute, overwrite)
        leave()
        if context.is_first:
            written = [str(feature_file(target, kind, "*").parent) for kind in extractors]
            if options.single_file:
                everything = FeatureFolder(target, list(extractors))
                write_single_file(options.single_file, everything, listing.images, len(summary.failed))
                written = [str(options.single_file)]
            log.info(_in_words(summary, listing, written))
    return 1 if summary.failed or listing.folders.unreadable else 0


def _list(sources: Sequence[str] | None) -> ImageListing:
    """The images of the sources; by default a photograph that comes with scikit-learn."""
    if sources is None:
        # Found without importing scikit-learn, which takes a second.
        package = importlib.util.find_spec("sklearn")
        if package is None or package.origin is None:
            raise UserError("name the images (--input); the default is a photograph of scikit-learn, which is missing")
        sources = [str(Path(package.origin).parent / "datasets/images/china.jpg")]
    return list_images(sources)


@contextlib.contextmanager
def _locked(parts: Path, single_file: Path, overwrite: bool) -> Iterator[None]:
    """Locks ``parts``, the folder of features for a single file, and removes it at the end if it is empty.

    Raises UserError where the file exists, also where another process has written it while this one waited for the
    lock, and where that process is still at work. Windows has no such locks.
    """

    def check() -> None:
        if single_file.exists() and not overwrite:
            raise UserError(f"--single_file {single_file} exists already; --overwrite replaces it")

    check()
    if sys.platform == "win32":
        yield
        return
    from common.folder_lock import LOCK, hold  # imports fcntl, which Windows lacks

    lock = hold(parts)
    # A process that has done its work removes the folder with its lock: then this is a lock on nothing.
    while not (parts / LOCK).exists() or not os.path.samestat(os.fstat(lock.fileno()), (parts / LOCK).stat()):
        lock.close()
        lock = hold(parts)
    try:
        check()
        yield
    finally:
        features = [path for path in parts.glob("*") if path.name != LOCK] if parts.exists() else []
        if not features:
            (parts / LOCK).unlink(missing_ok=True)
        lock.close()
        with contextlib.suppress(OSError):  # it holds features, or is gone
            parts.rmdir()


def extract_features(
    images: Sequence[ListedImage],
    extractors: Mapping[str, FeatureExtractor],
    folder: FeatureFolder,
    context: ProcessContext,
    compute: ComputeOptions,
    overwrite: bool = False,
) -> Summary:
    """Writes (1, 2 * features) float32 for each image and kind; every file is decoded once for all kinds.

    ``images`` is the complete list in every process; each process computes its share. Images that have all their
    features, up to date, are skipped unless ``overwrite``. An image that cannot be read or computed is reported in the
    summary, and the rest continues. Raises UserError where the folder holds features of a different encoder, pooling,
    size of images or precision. The summary is that of all processes.
    """
    for kind, extractor in extractors.items():
        claim_folder(folder.folder, kind, with_max_side(extractor.identity, compute.max_side), compute.amp)
    plan = folder.plan(images, slice(context.rank, None, context.world_size), overwrite)
    to_do = [images[position] for position in plan.to_do]
    summary = Summary(stale=plan.n_stale, skipped=len(plan.fresh))
    for image, features in features_of(to_do, extractors, compute, summary, context.world_size, context.is_first):
        folder.write(image, plan.names[image.name], features.values, features.stamp)
    parts = gather_objects(summary, context)
    return Summary(
        written=sum(part.written for part in parts),
        stale=sum(part.stale for part in parts),
        skipped=sum(part.skipped for part in parts),
        failed=[sentence for part in parts for sentence in part.failed],
        seconds=max(part.seconds for part in parts),
        waited=max(part.waited for part in parts),
    )


def _in_words(summary: Summary, listing: ImageListing, targets: list[str]) -> str:
    speed = ""
    if summary.written:
        speed = f" ({summary.written / summary.seconds:.1f} images/s, waiting {summary.waited / summary.seconds:.0%})"
    stale = f", {summary.stale:,d} of them anew since their files have changed" if summary.stale else ""
    return (
        f"{summary.written:,d} images written{speed}{stale}, {summary.skipped:,d} existed already, "
        f"{len(summary.failed):,d} failed{listing.folders.account()}: {', '.join(targets)}"
    )
