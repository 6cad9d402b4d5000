"""Features and opinion scores -> a regressor, evaluated by the protocol, and a report on it. See the README."""

import argparse
import sys
from importlib.metadata import version

from common.atomic_files import check_target
from common.errors import UserError
from common.process import exit_at_once
from common.progress_bar import ProgressBar
from datasets.feature_files import FeatureFiles
from datasets.iqa_databases import read_database
from datasets.opinion_scores import OpinionScores, read_scores
from learning.regression.evaluation import METRICS, Evaluation, describe, run_protocol
from learning.regression.regressor_files import description_file, save_regressor
from learning.regression.report import find_pictures, write_report
from learning.regression.search import Grid, physical_memory
from learning.regression.splits import official_split, random_splits, splits_in_words
from options.regressor import parse_regressor_options


def main() -> None:
    options = parse_regressor_options()
    try:
        run(options)
    except UserError as error:
        sys.exit(f"train_regressor.py: {error.sentence}")
    except KeyboardInterrupt:
        print("train_regressor.py: interrupted; nothing was written", file=sys.stderr)
        exit_at_once(130)


def run(options: argparse.Namespace) -> None:
    check_target(options.output)
    scores = (
        read_database(options.database, options.root)
        if options.database
        else read_scores(options.scores, options.lower_is_better)
    )
    files = FeatureFiles(options.features, options.kinds)
    scores, names = with_features(scores, files, options.skip_missing)
    features, mos = files.read(names), scores.mos
    if mos.min() == mos.max():
        raise UserError(f"all scores of {scores.source} are {mos[0]:g}; there is nothing to learn from them")

    if options.splits == "official" and scores.official_split is None:
        raise UserError(f"{scores.source} has no official split; --splits random makes some")
    official = options.splits != "random" and scores.official_split is not None
    splits = (
        official_split(scores.official_split, scores.groups)
        if official
        else random_splits(len(scores), scores.groups, options.n_splits, options.shares, options.seed)
    )
    protocol = splits_in_words(splits, official, scores.groups, options.seed)
    print(f"scores     {scores.source}: {len(scores):,d} images, {mos.min():g} to {mos.max():g}, higher is better")
    if scores.inversion:
        print(f"           {scores.inversion}")
    print(f"features   {' and '.join(files.kinds)}, {features.shape[1]} values, from {files.source}")
    print(f"splits     {protocol}")
    unknown = [kind for kind in files.kinds if not files.encoders[kind]]
    if unknown:
        print(f"notice     which encoder the {' and '.join(unknown)} features are of is not recorded beside them")

    grid = Grid(**options.grid)
    n_fits = len(splits) * sum(len(path) for path in grid.paths())
    bar = ProgressBar(n_fits, "fit")
    memory = int(options.memory * 2**30) if options.memory else physical_memory() // 2
    evaluation = run_protocol(features, mos, splits, grid, options.num_threads, memory, bar.add)
    bar.close()
    print_evaluation(evaluation, n_fits)

    description = {
        "encoders": files.encoders,
        "versions": {name: version(name) for name in ("numpy", "scikit-learn", "skops")},
        "scores": scores.source,
        "note": options.note,
        "turned": scores.inversion,
        "protocol": protocol,
        **describe(evaluation, mos),
    }
    save_regressor(options.output, evaluation.pipeline, files.kinds, description)
    written = [options.output, description_file(options.output)]
    if not options.no_report:
        written.append(options.output.with_suffix(".html"))
        beside = options.scores.parent if options.scores else options.root
        pictures = find_pictures(scores.images, beside, options.images)
        write_report(written[-1], scores, evaluation, description, pictures, options.note)
    print(f"\nwritten    {', '.join(map(str, written))}")


def with_features(scores: OpinionScores, files: FeatureFiles, skip_missing: bool) -> tuple[OpinionScores, list[str]]:
    """The scored images that have features, and the names of these; UserError where some have none, unless skipped."""
    matched = files.match(scores.images)
    missing = [image for image in scores.images if image not in matched]
    if len(missing) == len(scores):
        raise UserError(
            f"no image of {scores.source} has features in {files.source}; it lists {missing[0]}, and there is "
            f"{files.names[0]}"
        )
    if missing and not skip_missing:
        raise UserError(
            f"{len(missing):,d} of {len(scores):,d} images of {scores.source} have no features in {files.source}, "
            f"{', '.join(missing[:3])} among them; compute theirs, or leave them out with --skip_missing"
        )
    if missing:
        print(f"notice     {len(missing):,d} images have no features and are left out")
    unused = len(files.names) - len(matched)
    if unused:
        print(f"notice     {unused:,d} images have features and no score, and are not used")
    kept = scores.rows([row for row, image in enumerate(scores.images) if image in matched])
    return kept, [matched[image] for image in kept.images]


def print_evaluation(evaluation: Evaluation, n_fits: int) -> None:
    search = evaluation.search
    print(f"search     {n_fits:,d} fits; best median validation SRCC {search.median.max():.4f}: {search.best}")
    cut_off = int(search.unconverged.sum())
    if cut_off:
        print(f"notice     {cut_off:,d} ElasticNet fits did not converge and were judged as they were")
    print("\ntest       median    25 %    75 %   lowest  highest")
    for metric in METRICS:
        spread = evaluation.spread(metric)
        values = (spread.median, spread.lower_quartile, spread.upper_quartile, spread.lowest, spread.highest)
        print(f"{metric.upper():8} " + " ".join(f"{value:8.4f}" for value in values))
    if evaluation.linear_mappings:
        print(
            f"notice     the logistic did not converge on {evaluation.linear_mappings} of {len(evaluation.splits)} "
            "splits; PLCC and RMSE are after a straight line there"
        )


if __name__ == "__main__":
    main()
