"""The work of train_regressor.py in the order of the protocol: data, splits, evaluation, description, files, report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from common import log
from common.atomic_files import check_not_read, check_target
from common.names import CHOICES
from common.progress_bar import ProgressBar
from common.tables import TABLE_FORMS, print_table
from datasets.features.reading import FeatureFiles
from datasets.opinions.scores import OpinionScores
from learning.regression.evaluate.bootstrap import bootstrap_intervals
from learning.regression.evaluate.embedded import embedded_models
from learning.regression.evaluate.held_out import HeldOut, held_out_file, observer_spread, write_held_out
from learning.regression.evaluate.protocol import Evaluation, pair_orders, prediction_intervals, run_protocol
from learning.regression.fit.labelled_features import LabelledFeatures, read_data
from learning.regression.fit.search import search_grid
from learning.regression.fit.splits import make_splits
from learning.regression.model.description import (
    LABELS,
    METRICS,
    BootstrapIntervals,
    RegressorDescription,
    Results,
    read_description,
)
from learning.regression.model.files import save_regressor
from learning.regression.model.meaning import Opinions, Undistorted
from learning.regression.report.report import comparison_rows, find_pictures, write_report
from networks.errors import UserError
from networks.images.reading import longer_side
from networks.regressor import DESCRIPTION_SUFFIX, WEIGHTS_SUFFIX
from options.regressor import RegressorOptions

PACKAGES = ("numpy", "scikit-learn", "skops")
"""Packages whose versions a regressor records."""


def train_regressor(options: RegressorOptions) -> None:
    """Evaluates and fits a regressor as the options say, and writes it, its description and its report."""
    output, held_out_path, report = options.output, held_out_file(options.output), options.output.with_suffix(".html")
    written = [output, output.with_suffix(WEIGHTS_SUFFIX), output.with_suffix(DESCRIPTION_SUFFIX), held_out_path]
    written += [] if options.no_report else [report]
    check_files(written, options)
    data = read_data(options)
    scores, n_raters = data.scores, number_of_raters(data.scores, options)
    opinions, undistorted = opinions_of(scores, options), read_undistorted(data, options)
    pictures = find_pictures(scores.images, options.labels_folder, options.images)
    if not pictures and not options.no_report:
        log.warning("the report is without pictures, as the image files were not found; --images names their folder")
    sides = [side for side in map(longer_side, pictures.values()) if side]
    embedded = embedded_models(data, pictures if options.compare_embedded else None)
    splits, protocol = make_splits(data, options)
    evaluation = run_protocol(
        data.features, data.mos, splits, search_grid(options), options.num_threads, int(options.memory * 2**30),
        ProgressBar,
    )  # fmt: skip
    print_evaluation(evaluation)
    held_out = evaluation.tests["nested"].labelled(scores)
    intervals = make_intervals(held_out, options)
    observers = None
    if scores.std is not None and n_raters is not None:
        observers = observer_spread(held_out, scores.std, n_raters)
        log.info(f"\nobservers  {observers.in_words()}")
    conformal = prediction_intervals(evaluation.calibrated)
    description = RegressorDescription(
        kinds=tuple(data.files.kinds), encoders=data.files.encoders, calibration=evaluation.calibration,
        score_range=(float(scores.mos.min()), float(scores.mos.max())), n_images=len(scores),
        versions={name: version(name) for name in PACKAGES}, note=options.note or "",
        scores=scores.source, inversion=scores.inversion, protocol=protocol,
        hyperparameters=evaluation.search.best, validation_srcc=float(evaluation.search.median.max()),
        choice="nested", intervals=intervals, observers=observers, prediction_intervals=conformal,
        **{choice: Results(tuple(tests.metrics)) for choice, tests in evaluation.tests.items()},
        fit_images=" ".join(sorted({one[:16] for one in data.file_digests if one})),
        longer_sides=(min(sides), int(np.median(sides)), max(sides)) if sides else None,
        opinions=opinions, pair_orders=pair_orders(evaluation.calibrated, opinions.scale),
        undistorted=None if undistorted is None
        else Undistorted.of(evaluation.calibration(evaluation.model.predict(undistorted))),
    )  # fmt: skip
    interval = None if conformal.coverage is None else description.score_interval(0.9)
    for sentence in ["", *description.meaning(interval)]:
        log.info(sentence)

    rows = comparison_rows(evaluation, description, held_out, embedded)
    if embedded or options.table != TABLE_FORMS[0]:
        log.info("\nmedians over the splits; differences: means over the splits")
        print_table(options.table, ["", *LABELS.values()], rows)

    write_held_out(held_out_path, held_out)
    save_regressor(output, evaluation.model, description, held_out_path)
    if not options.no_report:
        write_report(report, scores, evaluation, held_out, description, pictures, rows)
    log.info(f"\nwritten    {', '.join(map(str, written))}")


def check_files(written: Sequence[Path], options: RegressorOptions) -> None:
    """UserError where a file of ``written``, which follow from --output, cannot be written, or is not to be replaced.

    The files beside --output may only replace those of another regressor.
    """
    output, *beside = written
    others = (options.scores, options.also_train, options.splits_file, options.undistorted)
    read = [options.features, *filter(None, others)]
    for path in written:
        check_target(path)
        check_not_read("--output", path, read)
    existing = [path for path in beside if path.exists()]
    if existing:
        try:
            read_description(output.with_suffix(DESCRIPTION_SUFFIX))
        except UserError:
            raise UserError(
                f"--output {output} would replace {existing[0]}, which is of no regressor; name another file, or "
                "remove that one"
            ) from None
    if options.images not in (None, options.root) and not options.images.is_dir():
        raise UserError(f"--images {options.images} is not a folder")


def print_evaluation(evaluation: Evaluation) -> None:
    """The search's choice, and the metrics on the test parts."""
    search = evaluation.search
    log.info(
        f"search     {search.srcc.size:,d} fits; best median validation SRCC {search.median.max():.4f}: {search.best}"
    )
    for choice, held_out in evaluation.tests.items():
        log.info(f"\ntest, {CHOICES[choice]}")
        log.info("           median    25 %    75 %   lowest  highest")
        for metric in METRICS:
            lowest, lower, median, upper, highest = held_out.quartiles(metric)
            values = (median, lower, upper, lowest, highest)
            log.info(f"{LABELS[metric]:8} " + " ".join(f"{value:8.4f}" for value in values))
        n_lines = sum(metrics.mapping == "linear" for metrics in held_out.metrics)
        if n_lines:
            log.warning(
                f"the logistic did not converge on {n_lines} of {len(evaluation.splits)} splits; PLCC fit and RMSE fit "
                "are after a straight line there"
            )


def make_intervals(held_out: HeldOut, options: RegressorOptions) -> BootstrapIntervals | None:
    """Bootstrap intervals of the held-out predictions, printed."""
    if not options.n_bootstrap:
        return None
    found = bootstrap_intervals(held_out, options.n_bootstrap, options.seed)
    unit = "images" if held_out.groups is None else "groups"
    log.info(f"\n95 % intervals of these medians, {options.n_bootstrap:,d} bootstrap samples of the {unit}")
    for metric, interval in found.items():
        log.info(f"{LABELS[metric]:8} {interval.estimate:8.4f}   [{interval.low:.4f}, {interval.high:.4f}]")
    return BootstrapIntervals(found, options.n_bootstrap, options.seed)


def number_of_raters(scores: OpinionScores, options: RegressorOptions) -> np.ndarray | None:
    """(n,) raters of each image, of the table or of --n_raters; a warning where the table has their std alone."""
    if scores.n_raters is None and options.n_raters is not None:
        return np.full(len(scores), float(options.n_raters))
    if scores.n_raters is None and scores.std is not None:
        log.warning("the table has the observers' std but not their number; --n_raters gives it")
    return scores.n_raters


def opinions_of(scores: OpinionScores, options: RegressorOptions) -> Opinions:
    """The distribution of the opinions; UserError where one is outside --scale."""
    if options.scale is None:
        return Opinions.of(scores.mos)
    low, high = options.scale
    scale = (-high, -low) if options.lower_is_better else (low, high)
    lowest, highest = scores.mos.min(), scores.mos.max()
    if not scale[0] <= lowest <= highest <= scale[1]:
        raise UserError(f"--scale {low:g},{high:g} does not hold the opinions, which go from {lowest:g} to {highest:g}")
    return Opinions.of(scores.mos, scale)


def read_undistorted(data: LabelledFeatures, options: RegressorOptions) -> np.ndarray | None:
    """(n, F) features of --undistorted; UserError where other encoders computed them, or an image is in the fit."""
    if options.undistorted is None:
        return None
    files, where = FeatureFiles(options.undistorted, data.files.kinds), f"--undistorted {options.undistorted}"
    features = files.read(files.names)
    if files.encoders != data.files.encoders or features.shape[1] != data.features.shape[1]:
        raise UserError(f"{where}: encoder, --pooling or --max_side is not that of {options.features}; use the same")
    shared = set(files.file_digests(files.names)) & set(filter(None, data.file_digests))
    if shared:
        raise UserError(f"{where}: {len(shared):,d} of its images are in the fit as well; leave them out there")
    return features
