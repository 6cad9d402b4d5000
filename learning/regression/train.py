"""The work of train_regressor.py in the order of the protocol: data, splits, evaluation, description, files, report."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from common import log
from common.atomic_files import check_not_read, check_target
from common.errors import UserError
from common.names import GIVEN
from common.progress_bar import ProgressBar
from datasets.features.reading import FeatureFiles
from datasets.opinions.databases import read_database
from datasets.opinions.scores import OpinionScores, identical_across, read_scores
from learning.regression.evaluate.breakdown import breakdown
from learning.regression.evaluate.held_out import HeldOut, held_out_file, write_held_out
from learning.regression.evaluate.intervals import bootstrap_intervals
from learning.regression.evaluate.observers import observer_spread
from learning.regression.evaluate.protocol import Evaluation, run_protocol
from learning.regression.evaluate.results import LABELS, METRICS, ObserverSpread
from learning.regression.fit.identical_images import Digests, digests_of, grouped_by_content, warn_of_identical_parts
from learning.regression.fit.settings import search_grid
from learning.regression.fit.split_files import read_splits, write_splits
from learning.regression.fit.splits import Split, official_split, random_splits
from learning.regression.model.description import BootstrapIntervals, describe
from learning.regression.model.files import save_regressor
from learning.regression.report.report import find_pictures, write_report
from networks.regressor import description_file, weights_file
from options.regressor import RegressorOptions


def train_regressor(options: RegressorOptions) -> None:
    """Evaluates and fits a regressor as the options say, and writes it, its description and its report."""
    output, held_out_path = options.output, held_out_file(options.output)
    written = [output, weights_file(output), description_file(output), held_out_path]
    written += [] if options.no_report else [options.report]
    check_target(output)
    read = [options.features, *filter(None, (options.scores, options.also_train, options.splits_file))]
    check_not_read("--output", held_out_path, read)
    if options.write_splits is not None:
        check_not_read("--write_splits", options.write_splits, read)
        if options.write_splits.resolve() in (path.resolve() for path in written):
            raise UserError(f"--write_splits {options.write_splits} is a file that --output writes; name another file")

    data = read_data(options)
    scores = data.scores
    splits, protocol = make_splits(data, options)
    evaluation = run_protocol(
        data.features,
        data.mos,
        splits,
        search_grid(options),
        options.num_threads,
        int(options.memory * 2**30),
        options.choice,
        options.logistic,
        ProgressBar,
    )
    print_evaluation(evaluation)
    held_out = evaluation.reported.labelled(scores)
    intervals = make_intervals(held_out, options)
    by_distortion = breakdown(held_out)
    for name, results in by_distortion.tables.items() if by_distortion else ():
        log.info(f"\nheld-out images by {name} of distortion: median over the splits, logistic of all kinds and levels")
        log.info("images     SRCC PLCC fit RMSE fit  " + name)
        for one in results:
            values = ("-" if value is None else f"{value:.4f}" for value in (one.srcc, one.plcc, one.rmse))
            log.info(f"{one.n_images:6,d}" + "".join(f"{value:>9}" for value in values) + f"  {one.label}")
    observers = spread_of_observers(scores, held_out, options)

    encoders, note = data.files.encoders, options.note or ""
    description = describe(evaluation, scores, encoders, protocol, note, intervals, observers, by_distortion)
    conformal = description.prediction_intervals
    if conformal is not None and conformal.coverage is not None:
        log.info(
            f"intervals  90 % of opinions lie within {conformal.half_width(0.9):.3g} of the prediction; on held-out "
            f"images {conformal.coverage:.1%} did"
        )

    write_held_out(held_out_path, held_out)
    save_regressor(output, evaluation.model, description, held_out_path)
    if not options.no_report:
        pictures = find_pictures(scores.images, options.labels_folder, options.images)
        if not pictures:
            log.warning(
                "the report is without pictures, as the image files were not found; --images names their folder"
            )
        write_report(options.report, scores, evaluation, held_out, description, pictures)
    log.info(f"\nwritten    {', '.join(map(str, written))}")


@dataclass(frozen=True)
class LabelledFeatures:
    """``images`` with their ``mos`` (n + m,) and ``features``, (n + m, values of all kinds) float32.

    The first n rows are those of ``scores``, the last m those of ``only_train``, the images of ``--also_train``.
    ``digests`` tell which images are identical.
    """

    images: list[str]
    mos: np.ndarray
    features: np.ndarray
    scores: OpinionScores
    only_train: OpinionScores | None
    files: FeatureFiles
    digests: Digests


def read_data(options: RegressorOptions) -> LabelledFeatures:
    """Scores and features; UserError where they do not belong together or hold nothing to learn."""
    if options.scores is not None:
        scores = read_scores(options.scores, options.lower_is_better)
    else:
        assert options.database is not None, "one of --scores and --database is required"
        scores = read_database(options.database, options.labels_folder)
    files = FeatureFiles(options.features, options.kinds)
    scores, names = _with_features(scores, files, options.skip_missing)
    images, mos, only_train = scores.images, scores.mos, None
    if options.also_train is not None:
        only_train = read_scores(options.also_train, options.lower_is_better)
        if only_train.official_split is not None:
            log.warning(f"the column split of {only_train.source} is not used: all its images train in every split")
        only_train, others = _with_features(only_train, files, options.skip_missing)
        images, names = images + only_train.images, names + others
        mos = np.concatenate([mos, only_train.mos])
    unused = len(files.names) - len(names)
    if unused:
        log.warning(f"{unused:,d} images have features but no score and are not used")
    if scores.mos.min() == scores.mos.max():
        raise UserError(f"all scores of {scores.source} are {scores.mos[0]:g}; there is nothing to learn from them")
    features = files.read(names)
    digests = digests_of(files.file_digests(names), features)
    if only_train is not None:
        _check_only_train(scores, only_train, names, digests)
    if options.group_identical:
        scores = grouped_by_content(scores, [of_kind[: len(scores)] for of_kind in digests])

    lowest, highest = scores.mos.min(), scores.mos.max()
    log.info(f"scores     {scores.source}: {len(scores):,d} images, {lowest:g} to {highest:g}, higher is better")
    if scores.inversion:
        log.info(f"           {scores.inversion}")
    kinds = "of another program" if files.kinds == [GIVEN] else " and ".join(files.kinds)
    log.info(f"features   {kinds}, {features.shape[1]} values, from {files.source}")
    unknown = [kind for kind in files.kinds if kind != GIVEN and not files.encoders[kind]]
    if unknown:
        log.warning(f"the encoder of the {' and '.join(unknown)} features is unknown: no encoder.json beside them")
    return LabelledFeatures(images, mos, features, scores, only_train, files, digests)


def _with_features(scores: OpinionScores, files: FeatureFiles, skip_missing: bool) -> tuple[OpinionScores, list[str]]:
    """The scored images that have features, and the names of these; UserError where some have none, unless skipped."""
    matched = files.match(scores.images)
    missing = [image for image in scores.images if image not in matched]
    if len(missing) == len(scores):
        raise UserError(
            f"no image of {scores.source} has features in {files.source}; the table lists {missing[0]}, and the "
            f"features include {files.names[0]}"
        )
    if missing and not skip_missing:
        raise UserError(
            f"{len(missing):,d} of {len(scores):,d} images of {scores.source} have no features in {files.source}, "
            f"{', '.join(missing[:3])} among them; compute theirs, or leave them out with --skip_missing"
        )
    if missing:
        log.warning(f"{len(missing):,d} images of {scores.source} have no features and are left out")
    kept = scores.rows([row for row, image in enumerate(scores.images) if image in matched])
    return kept, [matched[image] for image in kept.images]


def _check_only_train(scores: OpinionScores, only_train: OpinionScores, names: list[str], digests: Digests) -> None:
    """UserError where an image, or a group, of ``only_train`` is tested on as well, or where the scales differ.

    ``names`` are those of the features of all images, which the tables may call by different paths, and ``digests`` are
    theirs. A group of ``only_train`` may also be the name of a scored photograph, of which its images are versions.
    """
    n, table = len(scores), f"--also_train {only_train.source}"
    groups, other_groups = (set() if one.groups is None else set(one.groups) for one in (scores, only_train))
    shared_images = set(names[:n]) & set(names[n:]) | other_groups & (set(names[:n]) | set(scores.images))
    for what, shared in (("image", shared_images), ("group", groups & other_groups)):
        if shared:
            raise UserError(
                f"{table}: {what} {min(shared)} is in {scores.source} as well; its images train in every split, so no "
                "split may test on the same image or group"
            )
    (low, high), (other_low, other_high) = ((one.mos.min(), one.mos.max()) for one in (scores, only_train))
    if other_low > high or other_high < low:
        raise UserError(
            f"{table}: its scores are from {other_low:g} to {other_high:g}, those of {scores.source} from {low:g} to "
            f"{high:g}; both must be on the same scale"
        )
    for of_kind in digests:
        for one, other in identical_across(of_kind, range(n), range(n, len(names))):
            raise UserError(
                f"{table}: image {only_train.images[other - n]} is identical to {scores.images[one]} of "
                f"{scores.source}, on which a split would test; leave it out of one table"
            )


def make_splits(data: LabelledFeatures, options: RegressorOptions) -> tuple[list[Split], str]:
    """The splits, and how they were made in words; the images of ``--also_train`` are in all training parts."""
    scores, parts = data.scores, data.scores.official_split
    if options.splits == "official" and parts is None:
        raise UserError(f"{scores.source} has no official split; --splits random makes random splits")
    if options.splits_file is not None:
        splits = read_splits(options.splits_file, scores)
        made, of_which = f"{len(splits)} from {options.splits_file}", " in the first"
    elif parts is not None and options.splits != "random":
        splits = official_split(parts, scores.groups)
        made, of_which = "the official one", ""
    else:
        splits = random_splits(len(scores), scores.groups, options.n_splits, options.shares, options.seed)
        by_group = "" if scores.groups is None else f" by group ({len(set(scores.groups))} groups)"
        made, of_which = f"{len(splits)} random ones{by_group}, seed {options.seed}", " in the first"
    sizes = "/".join(str(len(part)) for part in splits[0].parts().values())
    protocol = f"{made}, {sizes} images for train/validation/test{of_which}"
    if options.write_splits is not None:
        write_splits(options.write_splits, splits, scores.images)
    if data.only_train is not None:
        others = np.arange(len(scores), len(data.images))
        splits = [Split(np.concatenate([one.train, others]), one.validation, one.test) for one in splits]
        protocol += f"; {len(others):,d} images of {data.only_train.source} train in every split"
    log.info(f"splits     {protocol}")
    warn_of_identical_parts(data.images, splits, data.digests)
    n_constant = sum(np.ptp(data.mos[split.test]) == 0 for split in splits)
    if n_constant:
        log.warning(f"all scores of the test part are equal in {n_constant} of {len(splits)} splits; their SRCC is 0")
    return splits, protocol


TITLES = {
    "nested": "test, hyper-parameters chosen within each split",
    "shared": "test, one choice of hyper-parameters for all splits (test images influence the choice)",
}


def print_evaluation(evaluation: Evaluation) -> None:
    """The search's choice, and the metrics on the test parts; those of the reported choice first."""
    search = evaluation.search
    log.info(
        f"search     {search.srcc.size:,d} fits; best median validation SRCC {search.median.max():.4f}: {search.best}"
    )
    n_unconverged = int(search.unconverged.sum())
    if n_unconverged:
        log.warning(f"{n_unconverged:,d} ElasticNet fits did not converge and were judged as they were")
    for choice, held_out in evaluation.by_choice.items():
        log.info(f"\n{TITLES[choice]}")
        log.info("           median    25 %    75 %   lowest  highest")
        for metric in METRICS:
            spread = held_out.spread(metric)
            values = (spread.median, spread.lower_quartile, spread.upper_quartile, spread.lowest, spread.highest)
            log.info(f"{LABELS[metric]:8} " + " ".join(f"{value:8.4f}" for value in values))
        n_lines = sum(metrics.mapping == "linear" for metrics in held_out.metrics)
        if n_lines:
            log.warning(
                f"the logistic did not converge on {n_lines} of {len(evaluation.splits)} splits; PLCC fit and RMSE fit "
                "are after a straight line there"
            )


def make_intervals(held_out: HeldOut, options: RegressorOptions) -> BootstrapIntervals | None:
    """Bootstrap intervals of the held-out predictions, printed with the time that they took."""
    if not options.n_bootstrap:
        return None
    began = time.perf_counter()
    found = bootstrap_intervals(held_out, options.n_bootstrap, options.seed)
    seconds = time.perf_counter() - began
    unit = "images" if held_out.groups is None else "groups"
    log.info(
        f"\n95 % intervals of these medians, {options.n_bootstrap:,d} bootstrap samples of the {unit} ({seconds:.0f} s)"
    )
    for metric, interval in found.items():
        log.info(f"{LABELS[metric]:8} {interval.estimate:8.4f}   [{interval.low:.4f}, {interval.high:.4f}]")
    return BootstrapIntervals(found, options.n_bootstrap, options.seed)


def spread_of_observers(scores: OpinionScores, held_out: HeldOut, options: RegressorOptions) -> ObserverSpread | None:
    """The spread of the observers, where the table has it; printed."""
    std, n_raters = scores.std, scores.n_raters
    if std is None:
        return None
    if n_raters is None and options.n_raters is not None:
        n_raters = np.full(len(scores), float(options.n_raters))
    if n_raters is None:
        log.warning("the table has the observers' std but not their number; --n_raters gives it")
        return None
    spread = observer_spread(held_out, std, n_raters)
    log.info(
        f"\nobservers  std {spread.mean_std:.3g}, {spread.mean_raters:.3g} raters an image; SRCC between two halves of "
        f"them {spread.ceiling:.4f}"
    )
    log.info(f"           outlier ratio {spread.outlier_ratio:.4f}, epsilon-insensitive RMSE {spread.rmse_epsilon:.4f}")
    return spread
