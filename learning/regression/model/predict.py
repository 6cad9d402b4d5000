"""The work of predict_quality.py: computes the features of the images or reads them from a folder, and scores them.

The lists of scores are a table on the terminal, tables (.csv, .xlsx), and lists of paths (.txt).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common import log
from common.atomic_files import check_not_read, check_outside, check_target, check_writable, whole_file
from datasets.images.lists import ImageListing, ListedImage, list_images
from datasets.opinions.tables import write_csv, write_workbook
from learning.extraction.compute import Summary, features_of, find_device, load_extractors
from learning.regression.model.description import RegressorDescription
from learning.regression.model.meaning import Column, score_columns
from networks.embedded import MODEL_CARD, embedded_regressor, encoder_of, model_title
from networks.errors import UserError
from networks.features import FeatureExtractor
from networks.images.reading import longer_side, reduced
from networks.names import EMBEDDED_MODELS, pooling_of, with_max_side
from networks.regressor import Regressor, load_regressor
from options.images import PAGE_SUFFIXES, ComputeOptions, PredictionOptions, ScoringOptions

ROWS_AT_ONCE = 4096

PixelScorer = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Images of one size in memory, uint8 (H, W, 3) each -> (n,) scores, higher for better images."""

BELOW_THRESHOLD = 3
"""The exit status where an image scores below --threshold."""

LONGEST_TABLE = 40
"""Largest number of rows in the terminal. Of a longer table, only the best and the worst rows are shown."""

Rows = Sequence[tuple[str, ListedImage]]
"""What lists call an image, and the image. An image without a score has failed."""

EXPLAINED_LEVEL = 0.9
"""Of the interval that --explain adds."""


def predict_quality(options: PredictionOptions) -> int:
    """Scores the images as the options say. The exit status is 1 if an image or a folder could not be read, or if a map
    could not be made; else BELOW_THRESHOLD if an image scores below --threshold.
    """
    if os.environ.get("WORLD_SIZE", "") not in ("", "1"):
        raise UserError("one process scores all images: give each job a list of its own (docs/deployment.md)")
    path = options.regressor or embedded_regressor(options.model or EMBEDDED_MODELS[0])
    regressor = load_regressor(path, RegressorDescription)
    description, compute = regressor.description, options.compute
    if compute.max_side is None:
        compute = replace(compute, max_side=description.max_side)
        options = replace(options, compute=compute)
    level = options.interval
    if level is None and options.explain and description.prediction_intervals:
        level = EXPLAINED_LEVEL
    interval = None if level is None else description.score_interval(level)
    listing = list_images(options.input)
    check_outputs(options)
    labels = None
    if options.labels:
        from learning.regression.model.labels import read_labels  # imports pandas and scipy

        labels = read_labels(options.labels, options.lower_is_better, listing)
    scores, summary = score_images(listing.images, regressor, path, options)
    if not scores:
        raise UserError("no image could be scored")
    rows, selection = select_rows(listing, scores, options)
    pages = [output for output in options.output or () if output.suffix.lower() in PAGE_SUFFIXES]
    tables = [output for output in options.output or () if output not in pages]
    columns = score_columns(description.opinions if options.explain else None, interval)
    for output in tables:
        write_scores(output, rows, scores, columns)
    print_scores(rows, scores, score_columns(description.opinions, interval), selection)
    sides = ((image.name, longer_side(image.path)) for image in listing.images if image.name in scores)
    for remark in description.remarks_on_sizes(sides, compute.max_side):
        log.warning(remark)
    for sentence in ["", *description.meaning(interval)]:
        log.info(sentence)
    on_rows = f" on {len(listing.rows):,d} rows" if len(listing.rows) != len(listing.images) else ""
    stale = f", {summary.stale:,d} anew since their files have changed" if summary.stale else ""
    account = f"{len(summary.failed):,d} failed{stale}{listing.folders.account()}"
    closing = f"{len(scores):,d} images scored{on_rows}, {account}"
    about = print_about(options, description, closing + (f": {', '.join(map(str, tables))}" if tables else ""))
    if labels is not None:
        labels.compare(scores, description, interval)
    scored = [(given, image) for given, image in rows if image.name in scores]
    maps: dict[str, Path] = {}
    without_map: list[str] = []
    if options.map:
        from learning.regression.model.quality_maps import write_maps  # imports scipy
        from networks.scorer import load_scorer

        images = list(dict.fromkeys(image for _, image in scored))
        scorer = load_scorer(path, options.checkpoints)
        maps, without_map = write_maps(images, scorer, options.map, compute.max_side)
    problems = [*summary.failed, *without_map, *listing.folders.unreadable]
    if pages:
        from learning.regression.report.pages import ScoredImage, write_score_page  # imports jinja2

        pictures = [ScoredImage(given, image.path, scores[image.name], maps.get(image.name)) for given, image in scored]
        card = MODEL_CARD.read_text(encoding="utf-8") if options.regressor is None and MODEL_CARD.is_file() else ""
        lines = f"{selection}; {closing}" if selection else closing
        for output in pages:
            problems += write_score_page(
                output, pictures, description, interval, about, card, lines, problems, compute.max_pixels
            )
            log.info(f"page: {output}")
    if problems:
        return 1
    return BELOW_THRESHOLD if options.threshold is not None and rows else 0


def check_outputs(options: PredictionOptions) -> None:
    """UserError where an output cannot be written, or would replace what is read, now or in the next run."""
    for output in options.output or ():
        check_target(output)
        check_not_read("--output", output, [*options.input, *filter(None, [options.labels])])
    if options.map:
        check_outside("--map", options.map, options.input)
        check_writable(options.map)
    if options.features and options.features.is_file():
        raise UserError(f"--features {options.features} is a file; a folder is needed here")


def score_images(
    images: Sequence[ListedImage], regressor: Regressor, path: Path, options: PredictionOptions
) -> tuple[dict[str, float], Summary]:
    """The scores of images by the regressor at ``path``, by their names, and the outcome for the rest.

    Features that the folder ``--features`` already holds are used; new ones are written to it.

    Encoders are loaded only where features are missing. Raises UserError where the features in the folder, or an
    encoder, are not those the regressor was fitted with.
    """
    scores: dict[str, float] = {}
    summary, to_do, kinds = Summary(), images, regressor.description.kinds
    folder, names = None, {}
    if options.features is not None:
        from datasets.features.files import FeatureFolder, check_settings, claim_folder, read_encoder

        remedy = "name another folder by --features, or fit a regressor on these features (train_regressor.py)"
        for kind in kinds:
            known = read_encoder(options.features, kind)
            regressor.check_encoder(kind, known, f"that of {options.features}", remedy)
            identity = with_max_side(known or "", options.compute.max_side)
            check_settings(options.features, kind, identity, options.compute.amp)
        folder = FeatureFolder(options.features, kinds)
        plan = folder.plan(images)
        summary.stale, names = plan.n_stale, plan.names
        to_do = [images[position] for position in plan.to_do]
        for start in range(0, len(plan.fresh), ROWS_AT_ONCE):
            fresh = [images[position].name for position in plan.fresh[start : start + ROWS_AT_ONCE]]
            predicted = regressor.predict(folder.read([names[name] for name in fresh]))
            scores.update(zip(fresh, predicted.tolist(), strict=True))
    if to_do:
        extractors = matching_extractors(regressor, path, options.checkpoints, options.compute)
        if folder is not None:
            for kind, extractor in extractors.items():
                identity = with_max_side(extractor.identity, options.compute.max_side)
                claim_folder(folder.folder, kind, identity, options.compute.amp)
        for image, features in features_of(to_do, extractors, options.compute, summary):
            if folder is not None:
                folder.write(image, names[image.name], features.values, features.stamp)
            side_by_side = np.concatenate([features.values[kind] for kind in kinds])
            scores[image.name] = float(regressor.predict(side_by_side[None])[0])
    return scores, summary


def matching_extractors(
    regressor: Regressor, path: Path, named: Mapping[str, Path | None], compute: ComputeOptions
) -> dict[str, FeatureExtractor]:
    """The encoders of the regressor at ``path``, with their pooling; ``named`` are the user's, by kind.

    Raises UserError where one is missing, or where the regressor was fitted with a different one.
    """
    about = regressor.description
    checkpoints = {kind: encoder_of(kind, about, path, named[kind]) for kind in about.kinds}
    poolings = {kind: pooling_of(about.encoders.get(kind)) for kind in about.kinds}
    extractors = load_extractors(checkpoints, poolings, compute)
    for kind, extractor in extractors.items():
        regressor.check_encoder(kind, extractor.identity, f"checkpoint {checkpoints[kind]}")
    return extractors


def load_pixel_scorer(options: ScoringOptions, device: str | None) -> PixelScorer:
    """Scores images in memory by the complete scorer on a ``device``, reduced as the regressor's --max_side says.

    Images that are scored at once have one size. UserError where the regressor and its encoders do not belong together.
    """
    from networks.scorer import load_scorer  # needed by no scoring of files without maps

    scorer = load_scorer(options.regressor, options.checkpoints, options.model or EMBEDDED_MODELS[0])
    scorer.to(find_device(device))

    @torch.inference_mode()
    def score(images: Sequence[np.ndarray]) -> np.ndarray:
        batch = torch.from_numpy(np.stack([reduced(image, scorer.max_side) for image in images])).permute(0, 3, 1, 2)
        return scorer(batch.to(scorer.mean) / 255).cpu().numpy()

    return score


def print_about(options: PredictionOptions, description: RegressorDescription, closing: str) -> str:
    """Prints what the regressor was fitted on, its note, and the closing line; returns a line that names the model."""
    lowest, highest = description.score_range
    source = description.scores or "its scores"
    log.info(f"\nfitted on {source}, where opinions go from {lowest:g} to {highest:g}; higher is better")
    for line in description.note.splitlines():
        log.info(line)
    log.info(closing)
    if options.regressor is not None:
        return f"regressor {options.regressor}"
    intervals = description.intervals
    srcc = f"; SRCC {intervals.metrics['srcc'].in_words()} on held-out photographs of its database" if intervals else ""
    about = (
        f"{model_title(options.model or EMBEDDED_MODELS[0])}: two small encoders and a Ridge regressor{srcc}. "
        "docs/regression.md says how to fit a regressor to opinions of your own"
    )
    log.info(about)
    return about


def select_rows(listing: ImageListing, scores: Mapping[str, float], options: PredictionOptions) -> tuple[Rows, str]:
    """The rows of the input; or those of --best, --worst or --threshold, in this order, and a sentence on them.

    A selected image is there once, by the path that opens from the current folder. ``scores`` are by its name.
    """
    if not options.selects:
        return listing.rows, ""
    images = [image for image in listing.images if image.name in scores]
    images.sort(key=lambda image: scores[image.name], reverse=options.best is not None)
    if options.threshold is not None:
        chosen = [image for image in images if scores[image.name] < options.threshold]
        sentence = f"{len(chosen):,d} of {len(images):,d} images score below {options.threshold:g}"
    else:
        chosen = images[: options.n_selected(len(images))]
        sentence = f"the {len(chosen):,d} {'best' if options.best else 'worst'} of {len(images):,d} images"
    return [(image.path, image) for image in chosen], sentence


def print_scores(rows: Rows, scores: Mapping[str, float], columns: Sequence[Column], selection: str) -> None:
    """Prints a table of images and scores; of a long one that is no selection, only the best and the worst rows."""
    shown = [(given, scores[image.name]) for given, image in rows if image.name in scores]
    half, cut = LONGEST_TABLE // 2, len(shown) > LONGEST_TABLE and not selection
    if cut:
        selection = f"the best and the worst {half} of {len(shown):,d} images"
        shown.sort(key=lambda row: -row[1])
        shown = shown[:half] + shown[-half:]
    if selection:
        log.info(selection)
    texts = [[format(column.of(score), column.format) for column in columns] + [given] for given, score in shown]
    header = [f"{column.name:>{len(format(0, column.format))}}" for column in columns] + ["image"]
    if cut:
        texts.insert(half, [" ..."])
    for row in [header, *texts]:
        log.info("  ".join(row))


def write_scores(path: Path, rows: Rows, scores: Mapping[str, float], columns: Sequence[Column]) -> None:
    """Writes a table (.csv, .xlsx) of images and the columns of their scores, or a list (.txt) of paths that open."""
    if path.suffix.lower() == ".txt":
        paths = [os.fsencode(image.path) for _, image in rows if image.name in scores]
        # A line break in a name would end the path; ``paths_in_list`` reads both forms.
        end = b"\0" if any(b"\n" in one or b"\r" in one for one in paths) else b"\n"
        with whole_file(path) as temporary:
            temporary.write_bytes(b"".join(one + end for one in paths))
        return
    cells = [
        [given, *(column.of(scores[image.name]) if image.name in scores else "" for column in columns)]
        for given, image in rows
    ]
    names = ["image", *(column.name for column in columns)]
    if path.suffix.lower() == ".xlsx":
        write_workbook(path, names, cells)
        return
    # Without a byte order mark, Excel reads names in an older encoding.
    texts = [[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in cells]
    write_csv(path, names, texts, "utf-8" if all(given.isascii() for given, _ in rows) else "utf-8-sig")
