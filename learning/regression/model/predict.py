"""The work of predict_quality.py: computes the features of the images or reads them from a folder, and scores them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from common import log
from common.atomic_files import check_not_read, check_outside, check_target, check_writable
from common.errors import UserError
from common.names import pooling_of
from datasets.features.files import FeatureFolder, FeaturePlan, claim_folder, read_encoder
from datasets.features.stamps import FileStamp, QuickStamp
from datasets.images.lists import ImageListing, ListedImage, list_images, match_names
from datasets.images.resampling import half_size_exactly
from datasets.opinions.tables import shown, write_csv
from learning.distributed.process_group import ProcessContext
from learning.extraction.compute import ComputedFeatures, FailedImage, compute_features
from learning.extraction.decoding import DecodedImage
from learning.extraction.extract import Extraction
from learning.extraction.extractors import extraction_device, load_extractors
from learning.regression.evaluate.results import LABELS, METRICS
from learning.regression.model.files import Regressor, description_file, load_regressor
from learning.regression.model.quality_maps import map_file, write_maps
from learning.regression.model.scorer import load_scorer
from networks.embedded import MODEL_CARD, REGRESSOR, EmbeddedModel, embedded_model, is_available
from networks.features import FeatureExtractor
from options.features import CHECKPOINTS, ComputeOptions
from options.prediction import PredictionOptions, is_page

if TYPE_CHECKING:
    from datasets.opinions.scores import OpinionScores
    from learning.regression.evaluate.metrics import Metrics

DEFAULT_REGRESSOR = Path("regressor.skops")
"""Used if it exists and the user names no other; train_regressor.py writes this file by default."""

ROWS_AT_ONCE = 4096

LONGEST_TABLE = 40
"""Largest number of rows in the terminal. Of a longer table, only the best and the worst rows are shown."""


@dataclass
class Scores:
    """Scores by the name of the image, and an error message for each image that has no score."""

    of_images: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    n_stale: int = 0


def predict_quality(options: PredictionOptions) -> int:
    """Scores the images as the options say. The exit status is 1 if an image or a folder could not be read, or if a map
    could not be made.
    """
    model = choose_model(options.regressor, options.checkpoints)
    regressor = load_regressor(model.regressor)
    interval = find_interval(regressor, options.interval)
    listing = list_images(options.input)
    for sentence in listing.unreadable:
        log.error(sentence)
    labels = _read_labels(options.labels, options.lower_is_better) if options.labels else None
    if options.output:
        check_target(options.output)
        check_not_read("--output", options.output, [*options.input, *filter(None, [options.labels])])
    if options.map:
        _check_maps(options.map, options.input, listing)
        check_writable(options.map)
    if options.features and options.features.is_file():
        raise UserError(f"--features {options.features} is a file; a folder is needed here")

    scores = score_listing(listing, regressor, model.encoders, options)
    if not scores.of_images:
        raise UserError("no image could be scored")
    rows = [(row.given, scores.of_images.get(listing.images[row.image].name)) for row in listing.rows]
    page = options.output is not None and is_page(options.output)
    if options.output and not page:
        write_scores(options.output, rows, interval)
    print_scores([(given, score) for given, score in rows if score is not None], interval)
    closing = closing_line(scores, listing)
    _print_about(regressor, closing, None if page else options.output)
    if model.regressor == REGRESSOR:
        log.info(about_embedded_model(regressor))
    if labels is not None:
        compare_with_labels(scores.of_images, labels, options, interval)
    without_map = _write_maps(listing, scores, model, options.map) if options.map else {}
    unread = []
    if page:
        unread = _write_page(options, model, regressor, listing, scores, interval, closing, without_map)
    return 1 if scores.failed or without_map or unread or listing.unreadable else 0


def _check_maps(folder: Path, sources: Sequence[str], listing: ImageListing) -> None:
    """UserError where a map would replace a scored image, or become one of the next run's."""
    check_outside("--map", folder, sources)
    read = {Path(image.path).resolve() for image in listing.images}
    for image in listing.images:
        picture = map_file(folder, image.name)
        if picture.resolve() in read:
            raise UserError(f"--map {folder}: the map {picture} would replace an image that is scored; name another")


@dataclass(frozen=True)
class ScoreInterval:
    """The prediction interval score +- ``half_width``, which holds an opinion with probability ``level``."""

    level: float
    half_width: float
    coverage_at_90: float | None

    def ends(self, score: float) -> tuple[float, float]:
        return score - self.half_width, score + self.half_width


def find_interval(regressor: Regressor, level: float | None) -> ScoreInterval | None:
    """The interval at ``level``, or None; UserError where the regressor does not record it."""
    if level is None:
        return None
    half_width = regressor.interval_half_width(level)
    intervals = regressor.description.prediction_intervals
    return ScoreInterval(level, half_width, intervals.coverage if intervals else None)


def write_scores(path: Path, rows: Sequence[tuple[str, float | None]], interval: ScoreInterval | None) -> None:
    """Writes image and score, and the ends of the interval, in columns such as low_0.9 and high_0.9."""

    def texts(score: float | None) -> tuple[str, ...]:
        values = () if score is None else (score, *(interval.ends(score) if interval else ()))
        return tuple(f"{value:.6g}" for value in values) or ("",) * (3 if interval else 1)

    columns = (f"low_{interval.level:g}", f"high_{interval.level:g}") if interval else ()
    write_csv(path, ("image", "score", *columns), ((given, *texts(score)) for given, score in rows))


def choose_model(regressor: Path | None, checkpoints: Mapping[str, Path]) -> EmbeddedModel:
    """The ``regressor`` that the user names, or regressor.skops in the current folder, or the embedded model.

    The user's own regressor is used with the ``checkpoints``.
    """
    own = regressor or DEFAULT_REGRESSOR
    if regressor or own.exists() or not is_available():
        return EmbeddedModel(own, checkpoints)
    if dict(checkpoints) != CHECKPOINTS:
        log.warning(
            "--quality_ckpt and --content_ckpt are not used: the embedded model has an encoder of its own; --regressor "
            "names a regressor fitted with yours (train_regressor.py)"
        )
    return embedded_model()


def about_embedded_model(regressor: Regressor) -> str:
    """A line that names the embedded model, its agreement with people, and the way to a better one."""
    intervals = regressor.description.intervals
    srcc = f"; SRCC {intervals.metrics['srcc'].in_words()} on held-out photographs of CLIVE" if intervals else ""
    return (
        f"embedded model: a small ResNet-18 and a Ridge regressor{srcc}. For a better one see docs/regression.md "
        "(larger encoders, opinions of your own)"
    )


def score_listing(
    listing: ImageListing, regressor: Regressor, checkpoints: Mapping[str, Path], options: PredictionOptions
) -> Scores:
    """The scores of a listing's images. Features that the folder ``--features`` already holds are used.

    Encoders are loaded only where features are missing. Raises UserError where the features in the folder, or an
    encoder, are not those the regressor was fitted with.
    """
    if options.features is None:
        extractors = matching_extractors(regressor, checkpoints, options.compute) if listing.images else {}
        return _scores_of(listing.images, extractors, regressor, options, keep=None, plan=None)
    remedy = "name another folder by --features, or fit a regressor on these features (train_regressor.py)"
    for kind in regressor.kinds:
        regressor.check_encoder(kind, read_encoder(options.features, kind), f"that of {options.features}", remedy)
    folder = FeatureFolder(options.features, regressor.kinds)
    plan = folder.plan(listing.images)
    to_do = [listing.images[position] for position in plan.to_do]
    scores = Scores()
    if to_do:
        extractors = matching_extractors(regressor, checkpoints, options.compute)
        for kind, extractor in extractors.items():
            claim_folder(options.features, kind, extractor.identity)
        scores = _scores_of(to_do, extractors, regressor, options, folder, plan)
    for start in range(0, len(plan.fresh), ROWS_AT_ONCE):
        images = [listing.images[position].name for position in plan.fresh[start : start + ROWS_AT_ONCE]]
        predicted = regressor.predict(folder.read([plan.names[image] for image in images]))
        scores.of_images.update(zip(images, predicted.tolist(), strict=True))
    scores.n_stale = plan.n_stale
    return scores


def _scores_of(
    images: Sequence[ListedImage],
    extractors: Mapping[str, FeatureExtractor],
    regressor: Regressor,
    options: PredictionOptions,
    keep: FeatureFolder | None,
    plan: FeaturePlan | None,
) -> Scores:
    """Computes the scores of ``images``; their features are written to ``keep`` under the names of ``plan``."""
    extraction = Extraction(images, extractors, options.compute)
    scores = Scores()
    for image, features in extraction:
        if keep is not None and plan is not None:
            keep.write(image, plan.names[image.name], features.values, features.stamp)
        scores.of_images[image.name] = score_features(features, regressor)
    scores.failed = extraction.failed
    return scores


def score_features(features: ComputedFeatures, regressor: Regressor) -> float:
    """The score of one image, on the opinions' scale."""
    side_by_side = np.concatenate([features.values[kind] for kind in regressor.kinds])
    return float(regressor.predict(side_by_side[None])[0])


NO_FILE = FileStamp(QuickStamp(0, 0, 0, 0), "")
"""The stamp of an image that is in memory only."""


@dataclass(frozen=True)
class PixelScorer:
    """Scores images in memory as predict_quality.py scores files. ``identity`` covers all that scores depend on."""

    regressor: Regressor
    extractors: Mapping[str, FeatureExtractor]
    batch_size: int
    identity: str

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(n,) scores of uint8 (H, W, 3) images; UserError where one does not fit into memory."""
        scores = np.empty(len(images))
        decoded = (
            DecodedImage(index, str(index), image, half_size_exactly(image), NO_FILE)
            for index, image in enumerate(images)
        )
        for result in compute_features(decoded, self.extractors, self.batch_size):
            if isinstance(result, FailedImage):
                raise UserError(result.reason)
            scores[result.index] = score_features(result, self.regressor)
        return scores


def load_pixel_scorer(model: EmbeddedModel, compute: ComputeOptions) -> PixelScorer:
    """The scorer of a regressor and its encoders; UserError where they do not belong together."""
    regressor = load_regressor(model.regressor)
    extractors = matching_extractors(regressor, model.encoders, compute)
    # The description holds the digest of the pipeline's file and the fingerprints of the encoders.
    digest = hashlib.sha256(description_file(model.regressor).read_bytes()).hexdigest()
    return PixelScorer(regressor, extractors, compute.batch_size, digest + (":amp" if compute.amp else ""))


def matching_extractors(
    regressor: Regressor, checkpoints: Mapping[str, Path], compute: ComputeOptions
) -> dict[str, FeatureExtractor]:
    """The regressor's encoders, with their pooling; UserError where it was fitted with different encoders."""
    device: torch.device = extraction_device(compute.device, ProcessContext())
    poolings = {kind: pooling_of(regressor.description.encoders.get(kind)) for kind in regressor.kinds}
    extractors = load_extractors({kind: checkpoints[kind] for kind in regressor.kinds}, poolings, compute, device)
    for kind, extractor in extractors.items():
        regressor.check_encoder(kind, extractor.identity, f"checkpoint {checkpoints[kind]}")
    return extractors


def _write_maps(listing: ImageListing, scores: Scores, model: EmbeddedModel, folder: Path) -> dict[str, str]:
    """Writes the maps of the scored images; returns name -> error message for each image without a map."""
    images = [image for image in listing.images if image.name in scores.of_images]
    failed = write_maps(images, load_scorer(model.regressor, model.encoders), folder)
    log.info(f"{len(images) - len(failed):,d} maps written, {len(failed):,d} failed: {folder}")
    return failed


def _write_page(
    options: PredictionOptions,
    model: EmbeddedModel,
    regressor: Regressor,
    listing: ImageListing,
    scores: Scores,
    interval: ScoreInterval | None,
    closing: str,
    without_map: Mapping[str, str],
) -> list[str]:
    """Writes the page of --output, with the maps of --map; returns a sentence for each image without thumbnail."""
    from learning.regression.report.score_page import PageTexts, ScoredImage, write_page  # imports jinja2

    assert options.output is not None
    images = []
    for row in listing.rows:
        image = listing.images[row.image]
        if image.name in scores.of_images:
            mapped = options.map is not None and image.name not in without_map
            picture = map_file(options.map, image.name) if options.map and mapped else None
            images.append(ScoredImage(row.given, image.path, scores.of_images[image.name], picture))
    embedded = model.regressor == REGRESSOR
    about = about_embedded_model(regressor) if embedded else f"regressor {model.regressor}"
    card = MODEL_CARD.read_text(encoding="utf-8") if embedded and MODEL_CARD.is_file() else ""
    note = _interval_in_words(interval) if interval else ""
    failed = [*scores.failed, *without_map.values(), *listing.unreadable]
    texts = PageTexts(about, closing, failed, card, note)
    ends = interval.ends if interval else None
    unread = write_page(options.output, images, regressor.description, texts, ends, options.compute.max_pixels)
    log.info(f"page: {options.output}")
    return unread


def print_scores(rows: list[tuple[str, float]], interval: ScoreInterval | None = None) -> None:
    """Prints a table of images, scores and intervals. Of a long table, it prints the best and the worst rows."""
    header = "   score" + ("      low     high" if interval else "") + "  image"
    if len(rows) <= LONGEST_TABLE:
        log.info(header)
        _print_rows(rows, interval)
    else:
        log.info(f"the best and the worst {LONGEST_TABLE // 2} of {len(rows):,d} images")
        log.info(header)
        rows = sorted(rows, key=lambda row: -row[1])
        _print_rows(rows[: LONGEST_TABLE // 2], interval)
        log.info(f"{'':>8}  ...")
        _print_rows(rows[-LONGEST_TABLE // 2 :], interval)
    if interval is not None:
        log.info(f"\n{_interval_in_words(interval)}")


def _print_rows(rows: list[tuple[str, float]], interval: ScoreInterval | None) -> None:
    for image, score in rows:
        # A name with a newline or an escape sequence is shown with escapes: the table keeps its rows.
        name = image if image.isprintable() else shown(image)
        ends = "".join(f" {end:8.4f}" for end in interval.ends(score)) if interval else ""
        log.info(f"{score:8.4f}{ends}  {name}")


def _interval_in_words(interval: ScoreInterval) -> str:
    checked = interval.coverage_at_90
    seen = f"; on held-out images the 90 % interval held {checked:.1%}" if checked is not None else ""
    return (
        f"{100 * interval.level:g} % of the opinions on similar images lie between low and high: score +- "
        f"{interval.half_width:.4g} (split conformal{seen})"
    )


def closing_line(scores: Scores, listing: ImageListing) -> str:
    """A line that accounts for all files of the input: scored, failed, left out."""
    rows = f" on {len(listing.rows):,d} rows" if len(listing.rows) != len(listing.images) else ""
    stale = f", {scores.n_stale:,d} anew since their files have changed" if scores.n_stale else ""
    return f"{len(scores.of_images):,d} images scored{rows}, {len(scores.failed):,d} failed{stale}{listing.account()}"


def _print_about(regressor: Regressor, closing: str, output: Path | None) -> None:
    lowest, highest = regressor.description.score_range
    source = regressor.description.scores or "its scores"
    log.info(f"\nfitted on {source}, where opinions go from {lowest:g} to {highest:g}; higher is better")
    if regressor.description.note:
        for line in regressor.description.note.splitlines():
            log.info(line)
    log.info(closing + (f": {output}" if output else ""))


def _read_labels(path: Path, lower_is_better: bool) -> OpinionScores:
    from datasets.opinions.scores import read_scores  # imports pandas, which scores alone do not need

    return read_scores(path, lower_is_better)


def compare_with_labels(
    scores: Mapping[str, float],
    labels: OpinionScores,
    options: PredictionOptions,
    interval: ScoreInterval | None = None,
) -> None:
    """Prints how well the scores agree with the labels; UserError if fewer than two images have both."""
    from learning.regression.evaluate.metrics import evaluate  # imports scipy, which scores alone do not need

    matched = match_names(labels.images, list(scores), f"--input {' '.join(options.input)}")
    rows = [row for row, image in enumerate(labels.images) if image in matched]
    if len(rows) < 2:
        raise UserError(f"{len(rows)} images of --labels {options.labels} are among the scored ones; 2 are needed")
    predicted = np.array([scores[matched[labels.images[row]]] for row in rows])
    print_agreement(evaluate(predicted, labels.mos[rows]), len(rows), len(labels), labels.inversion)
    if interval is not None:
        inside = np.abs(predicted - labels.mos[rows]) <= interval.half_width
        log.info(f"{inside.mean():.1%} of these opinions lie in their interval, at level {interval.level:g}")


def print_agreement(metrics: Metrics, n_compared: int, n_labels: int, inversion: str) -> None:
    """Prints the metrics of ``n_compared`` images; ``inversion`` is a sentence on inverted labels, or empty."""
    about = f"\nagainst the opinions on {n_compared:,d} of {n_labels:,d} labelled images"
    log.info(about + (f". {inversion}" if inversion else ""))
    log.info("  ".join(f"{LABELS[name]} {getattr(metrics, name):.4f}" for name in METRICS))
    if metrics.mapping.kind == "linear":
        log.info("notice: the logistic did not converge; PLCC and RMSE are after a straight line")
