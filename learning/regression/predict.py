"""The work of predict_quality.py: features of the images, computed or found, and the regressor's scores of them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common import log
from common.atomic_files import check_target
from common.errors import UserError
from datasets.feature_files import FeatureFiles, has_features, read_encoder
from datasets.image_lists import ListedImage, feature_names, list_images, match_names
from datasets.opinion_scores import OpinionScores, read_scores
from datasets.tables import write_csv
from learning.distributed.process_group import ProcessContext
from learning.extraction.extract import extract_features, with_workers
from learning.extraction.extractors import extraction_device, load_extractors
from learning.regression.metrics import LABELS, METRICS, Metrics, evaluate
from learning.regression.regressor_files import Regressor, load_regressor
from options.prediction import PredictionOptions

ROWS_AT_ONCE = 4096

LONGEST_TABLE = 40
"""Images; of more, the terminal shows the best and the worst."""


def predict_quality(options: PredictionOptions) -> int:
    """Scores the images as the options say, and returns the number of images without a score."""
    regressor = load_regressor(options.regressor)
    images = list_images(options.input)
    labels = read_scores(options.labels, options.lower_is_better) if options.labels else None
    if options.output:
        check_target(options.output)
    if options.features and options.features.is_file():
        raise UserError(f"--features {options.features} is a file; a folder is needed here")
    with _feature_folder(options.features) as folder:
        complete_features(images, regressor, folder, options)
        scores = score_images(images, regressor, folder)
    if not scores:
        raise UserError("no image could be scored")
    n_failed = len(images) - len(scores)
    if options.output:
        write_csv(options.output, ("image", "score"), ((image, f"{score:.6g}") for image, score in scores.items()))
    print_scores(scores)
    _print_about(regressor, scores, n_failed, options.output)
    if labels is not None:
        compare_with_labels(scores, labels, options)
    return n_failed


@contextlib.contextmanager
def _feature_folder(kept: Path | None) -> Iterator[Path]:
    """The folder in which features are kept, or a temporary one."""
    if kept is not None:
        yield kept
    else:
        with tempfile.TemporaryDirectory(prefix="predict_quality_") as folder:
            yield Path(folder)


def complete_features(
    images: list[ListedImage], regressor: Regressor, folder: Path, options: PredictionOptions
) -> None:
    """Computes the features that ``folder`` lacks; loads the encoders only where some are missing.

    Raises UserError where the features in the folder, or an encoder, are not those the regressor was fitted with.
    """
    names = feature_names(images)
    for kind in regressor.kinds:
        regressor.check_encoder(kind, read_encoder(folder, kind), f"that of {folder}")
    if all(has_features(folder, regressor.kinds, name) for name in names.values()):
        return
    context = ProcessContext()
    device = extraction_device(options.compute.device, context)
    checkpoints = {kind: options.checkpoints[kind] for kind in regressor.kinds}
    extractors = load_extractors(checkpoints, options.compute, device)
    for kind, extractor in extractors.items():
        regressor.check_encoder(kind, extractor.fingerprint, f"checkpoint {checkpoints[kind]}")
    extract_features(images, extractors, folder, context, with_workers(options.compute, device))


def score_images(images: list[ListedImage], regressor: Regressor, folder: Path) -> dict[str, float]:
    """Image -> score, in the order of ``images``, of those that have features in ``folder``."""
    names = feature_names(images)
    there = [image.name for image in images if has_features(folder, regressor.kinds, names[image.name])]
    if not there:
        return {}
    files = FeatureFiles(folder, regressor.kinds)
    scores: dict[str, float] = {}
    for start in range(0, len(there), ROWS_AT_ONCE):
        some = there[start : start + ROWS_AT_ONCE]
        predicted = regressor.predict(files.read([names[name] for name in some]))
        scores.update(zip(some, predicted.tolist(), strict=True))
    return scores


def print_scores(scores: dict[str, float]) -> None:
    """Prints a table; of a long one the best and the worst scores."""
    rows = list(scores.items())
    if len(rows) <= LONGEST_TABLE:
        log.info("   score  image")
        _print_rows(rows)
        return
    log.info(f"the best and the worst {LONGEST_TABLE // 2} of {len(rows):,d} images")
    log.info("   score  image")
    rows.sort(key=lambda row: -row[1])
    _print_rows(rows[: LONGEST_TABLE // 2])
    log.info(f"{'':>8}  ...")
    _print_rows(rows[-LONGEST_TABLE // 2 :])


def _print_rows(rows: list[tuple[str, float]]) -> None:
    for image, score in rows:
        log.info(f"{score:8.4f}  {_printable(image)}")


def _printable(name: str) -> str:
    return name.encode(errors="backslashreplace").decode(errors="backslashreplace")


def _print_about(regressor: Regressor, scores: dict[str, float], n_failed: int, output: Path | None) -> None:
    lowest, highest = regressor.description.score_range
    source = _printable(regressor.description.scores or "its scores")
    log.info(f"\nfitted on {source}, where opinions go from {lowest:g} to {highest:g}; higher is better")
    if regressor.description.note:
        log.info(_printable(regressor.description.note))
    log.info(f"{len(scores):,d} images scored, {n_failed:,d} failed" + (f": {output}" if output else ""))


def compare_with_labels(scores: dict[str, float], labels: OpinionScores, options: PredictionOptions) -> None:
    """Prints how well the scores agree with people's; UserError where fewer than two images are in both."""
    matched = match_names(labels.images, list(scores), f"--input {options.input}")
    rows = [row for row, image in enumerate(labels.images) if image in matched]
    if len(rows) < 2:
        raise UserError(f"{len(rows)} images of --labels {options.labels} are among the scored ones; 2 are needed")
    predicted = np.array([scores[matched[labels.images[row]]] for row in rows])
    print_agreement(evaluate(predicted, labels.mos[rows]), len(rows), len(labels), labels.inversion)


def print_agreement(metrics: Metrics, n_compared: int, n_labels: int, inversion: str) -> None:
    """Prints the metrics of ``n_compared`` images; ``inversion`` is a sentence on inverted labels, or empty."""
    about = f"\nagainst the opinions on {n_compared:,d} of {n_labels:,d} labelled images"
    log.info(about + (f". {inversion}" if inversion else ""))
    log.info("  ".join(f"{LABELS[name]} {getattr(metrics, name):.4f}" for name in METRICS))
    if metrics.mapping.kind == "linear":
        log.info("notice: the logistic did not converge; PLCC and RMSE are after a straight line")
