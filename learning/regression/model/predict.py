"""The work of predict_quality.py: computes the features of the images or reads them from a folder, and scores them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from common import log
from common.atomic_files import check_not_read, check_outside, check_target, check_writable
from datasets.features.files import FeatureFolder, check_settings, claim_folder, read_encoder
from datasets.images.lists import FileStamp, ImageListing, ListedImage, list_images
from datasets.images.resampling import half_size_exactly
from learning.extraction.compute import ComputedFeatures, Summary, compute_features, features_of, load_extractors
from learning.extraction.decoding import DecodedImage, UnreadableImage
from learning.regression.model.description import RegressorDescription
from learning.regression.model.meaning import score_columns
from learning.regression.model.score_lists import print_scores, select_rows, write_scores
from networks.embedded import MODEL_CARD, embedded_regressor, encoder_of, model_title
from networks.errors import UserError
from networks.features import FeatureExtractor
from networks.images.reading import longer_side, reduced
from networks.names import EMBEDDED_MODELS, pooling_of, with_max_side
from networks.regressor import Regressor, ScoringDescription, load_regressor
from options.images import PAGE_SUFFIXES, ComputeOptions, PredictionOptions, ScoringOptions

ROWS_AT_ONCE = 4096

PixelScorer = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Images in memory, uint8 (H, W, 3) each -> (n,) scores, higher for better images."""

BELOW_THRESHOLD = 3
"""The exit status where an image scores below --threshold."""

EXPLAINED_LEVEL = 0.9
"""Of the interval that --explain adds."""


def predict_quality(options: PredictionOptions) -> int:
    """Scores the images as the options say. The exit status is 1 if an image or a folder could not be read, or if a map
    could not be made; else BELOW_THRESHOLD if an image scores below --threshold.
    """
    path = regressor_file(options)
    regressor = load_regressor(path, RegressorDescription)
    description = regressor.description
    options = replace(options, compute=at_size_of_fit(options.compute, description))
    level = options.interval
    if level is None and options.explain and description.prediction_intervals:
        level = EXPLAINED_LEVEL
    interval = None if level is None else description.score_interval(level)
    listing = list_images(options.input)
    labels = None
    if options.labels:
        from learning.regression.model.labels import read_labels  # imports pandas and scipy

        labels = read_labels(options.labels, options.lower_is_better, listing)
    check_outputs(options, listing)

    scores = score_images(listing.images, regressor, path, options)
    if not scores.of_images:
        raise UserError("no image could be scored")
    rows, selection = select_rows(listing, scores.of_images, options)
    pages = [output for output in options.output or () if output.suffix.lower() in PAGE_SUFFIXES]
    tables = [output for output in options.output or () if output not in pages]
    columns = score_columns(description.opinions if options.explain else None, interval)
    for output in tables:
        write_scores(output, rows, scores.of_images, columns)
    print_scores(rows, scores.of_images, score_columns(description.opinions, interval), selection)
    sides = ((image.name, longer_side(image.path)) for image in listing.images if image.name in scores.of_images)
    for remark in description.remarks_on_sizes(sides, options.compute.max_side):
        log.warning(remark)
    for sentence in ["", *description.meaning(interval)]:
        log.info(sentence)
    closing = closing_line(scores, listing)
    about = print_about(options, description, closing + (f": {', '.join(map(str, tables))}" if tables else ""))
    if labels is not None:
        labels.compare(scores.of_images, description, interval)
    scored = [(given, image) for given, image in rows if image.name in scores.of_images]
    maps: dict[str, Path] = {}
    without_map: list[str] = []
    if options.map:
        from learning.regression.model.quality_maps import write_maps  # with the complete scorer
        from networks.scorer import load_scorer

        images = list(dict.fromkeys(image for _, image in scored))
        scorer = load_scorer(path, options.checkpoints)
        maps, without_map = write_maps(images, scorer, options.map, options.compute.max_side)
    problems = [*scores.failed, *without_map, *listing.folders.unreadable]
    if pages:
        from learning.regression.report.pages import ScoredImage, write_score_page  # imports jinja2

        pictures = [
            ScoredImage(given, image.path, scores.of_images[image.name], maps.get(image.name))
            for given, image in scored
        ]
        card = MODEL_CARD.read_text(encoding="utf-8") if options.regressor is None and MODEL_CARD.is_file() else ""
        max_pixels = options.compute.max_pixels
        lines = f"{selection}; {closing}" if selection else closing
        for output in pages:
            unread = write_score_page(output, pictures, description, interval, about, card, lines, problems, max_pixels)
            problems += unread
            log.info(f"page: {output}")
    if problems:
        return 1
    return BELOW_THRESHOLD if options.threshold is not None and rows else 0


def at_size_of_fit(compute: ComputeOptions, description: ScoringDescription) -> ComputeOptions:
    """The options with the regressor's --max_side, unless the user gives one."""
    return replace(compute, max_side=description.max_side) if compute.max_side is None else compute


def regressor_file(options: ScoringOptions) -> Path:
    """The regressor that the user names, or that of the embedded model."""
    return options.regressor or embedded_regressor(options.model or EMBEDDED_MODELS[0])


def check_outputs(options: PredictionOptions, listing: ImageListing) -> None:
    """UserError where an output cannot be written, or would replace what is read, now or in the next run."""
    for output in options.output or ():
        check_target(output)
        check_not_read("--output", output, [*options.input, *filter(None, [options.labels])])
    if options.map:
        from learning.regression.model.quality_maps import map_file

        check_outside("--map", options.map, options.input)
        read = {Path(image.path).resolve() for image in listing.images}
        for picture in (map_file(options.map, image.name) for image in listing.images):
            if picture.resolve() in read:
                raise UserError(
                    f"--map {options.map}: the map {picture} would replace an image that is scored; name another"
                )
        check_writable(options.map)
    if options.features and options.features.is_file():
        raise UserError(f"--features {options.features} is a file; a folder is needed here")


@dataclass
class Scores:
    """Scores by the name of the image, and an error message for each image that has no score.

    ``n_stale`` images were computed again, since their files have changed.
    """

    of_images: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    n_stale: int = 0


def score_images(images: Sequence[ListedImage], regressor: Regressor, path: Path, options: PredictionOptions) -> Scores:
    """The scores of images by the regressor at ``path``.

    Features that the folder ``--features`` already holds are used; new ones are written to it.

    Encoders are loaded only where features are missing. Raises UserError where the features in the folder, or an
    encoder, are not those the regressor was fitted with.
    """
    scores, to_do, kinds = Scores(), images, regressor.description.kinds
    folder, names = None, {}
    if options.features is not None:
        remedy = "name another folder by --features, or fit a regressor on these features (train_regressor.py)"
        for kind in kinds:
            known = read_encoder(options.features, kind)
            regressor.check_encoder(kind, known, f"that of {options.features}", remedy)
            identity = with_max_side(known or "", options.compute.max_side)
            check_settings(options.features, kind, identity, options.compute.amp)
        folder = FeatureFolder(options.features, kinds)
        plan = folder.plan(images)
        scores.n_stale, names = plan.n_stale, plan.names
        to_do = [images[position] for position in plan.to_do]
        for start in range(0, len(plan.fresh), ROWS_AT_ONCE):
            fresh = [images[position].name for position in plan.fresh[start : start + ROWS_AT_ONCE]]
            predicted = regressor.predict(folder.read([names[name] for name in fresh]))
            scores.of_images.update(zip(fresh, predicted.tolist(), strict=True))
    if to_do:
        extractors = matching_extractors(regressor, path, options.checkpoints, options.compute)
        if folder is not None:
            for kind, extractor in extractors.items():
                identity = with_max_side(extractor.identity, options.compute.max_side)
                claim_folder(folder.folder, kind, identity, options.compute.amp)
        summary = Summary()
        for image, features in features_of(to_do, extractors, options.compute, summary):
            if folder is not None:
                folder.write(image, names[image.name], features.values, features.stamp)
            scores.of_images[image.name] = score_features(features, regressor)
        scores.failed = summary.failed
    return scores


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


def score_features(features: ComputedFeatures, regressor: Regressor) -> float:
    """The score of one image, on the opinions' scale."""
    side_by_side = np.concatenate([features.values[kind] for kind in regressor.description.kinds])
    return float(regressor.predict(side_by_side[None])[0])


def load_pixel_scorer(options: ScoringOptions, compute: ComputeOptions) -> PixelScorer:
    """Scores images in memory as ``score_images`` scores files, also where the regressor has a --max_side.

    UserError where the regressor and its encoders do not belong together, or where an image does not fit into memory.
    """
    path = regressor_file(options)
    regressor = load_regressor(path, ScoringDescription)
    compute = at_size_of_fit(compute, regressor.description)
    extractors = matching_extractors(regressor, path, options.checkpoints, compute)
    no_file = FileStamp(0, 0, 0, "")

    def score(images: Sequence[np.ndarray]) -> np.ndarray:
        scores = np.empty(len(images))
        decoded = (
            DecodedImage(index, str(index), image, half_size_exactly(image), no_file)
            for index, image in enumerate(reduced(image, compute.max_side) for image in images)
        )
        for result in compute_features(decoded, extractors, compute.batch_size):
            if isinstance(result, UnreadableImage):
                raise UserError(result.reason)
            scores[result.index] = score_features(result, regressor)
        return scores

    return score


def closing_line(scores: Scores, listing: ImageListing) -> str:
    """A line that accounts for all files of the input: scored, failed, left out."""
    rows = f" on {len(listing.rows):,d} rows" if len(listing.rows) != len(listing.images) else ""
    stale = f", {scores.n_stale:,d} anew since their files have changed" if scores.n_stale else ""
    folders = listing.folders.account()
    return f"{len(scores.of_images):,d} images scored{rows}, {len(scores.failed):,d} failed{stale}{folders}"


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
