"""Options of predict_quality.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from learning.regression.evaluate.conformal import LEVELS
from options.argument_types import Parser, number
from options.features import (
    INPUT_HELP,
    ComputeOptions,
    add_compute_options,
    add_model_options,
    compute_options,
    model_checkpoints,
)


@dataclass(frozen=True)
class PredictionOptions:
    """What predict_quality.py scores; ``checkpoints`` is kind -> path, the other fields are options of their names.

    Without ``regressor``, regressor.skops in the current folder is used, or else the embedded model.
    """

    input: tuple[str, ...]
    regressor: Path | None
    checkpoints: dict[str, Path]
    output: Path | None
    features: Path | None
    map: Path | None
    labels: Path | None
    lower_is_better: bool
    interval: float | None
    compute: ComputeOptions


def is_page(output: Path) -> bool:
    """Whether ``--output`` names a page to look at; otherwise it is a table."""
    return output.suffix.lower() in (".html", ".htm")


def parse_prediction_options(arguments: Sequence[str] | None = None) -> PredictionOptions:
    """Parses the options; a mistake ends the program with a sentence and status 2."""
    parser = Parser(
        prog="predict_quality.py",
        description="Scores images by the embedded model, or by encoders and a regressor fitted by train_regressor.py.",
    )
    parser.add_argument("--input", nargs="+", required=True, help=INPUT_HELP)
    add_model_options(parser)
    parser.add_argument(
        "--interval",
        type=number(float, LEVELS[0], at_most=LEVELS[-1]),
        metavar="LEVEL",
        help="print a prediction interval beside each score; 0.9: nine of ten opinions lie inside",
    )
    files = parser.add_argument_group("files")
    files.add_argument(
        "--output",
        type=Path,
        metavar="SCORES",
        help="SCORES.csv: a row for each input with path, score and interval; SCORES.html: a page with thumbnails and "
        "scores, and with --map also the maps",
    )
    files.add_argument(
        "--features", type=Path, help="folder of features; missing ones are computed and kept there (default: not kept)"
    )
    files.add_argument(
        "--map",
        type=Path,
        metavar="OUT_DIR",
        help="write a picture of each image here, beside a map of local quality: red lowers its score, blue raises it",
    )
    files.add_argument(
        "--labels", type=Path, help="CSV with opinion scores (image and mos), to be compared with the scores"
    )
    files.add_argument(
        "--lower_is_better", action="store_true", help="the scores of --labels are difference scores: lower is better"
    )
    add_compute_options(parser)
    namespace = parser.parse_args(arguments)
    output: Path | None = namespace.output
    if output and output.suffix.lower() != ".csv" and not is_page(output):
        parser.error(f"--output {output}: the name must end in .csv or .html")
    return PredictionOptions(
        input=tuple(namespace.input),
        regressor=namespace.regressor,
        checkpoints=model_checkpoints(namespace),
        output=output,
        features=namespace.features,
        map=namespace.map,
        labels=namespace.labels,
        lower_is_better=namespace.lower_is_better,
        interval=namespace.interval,
        compute=compute_options(namespace),
    )
