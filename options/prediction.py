"""Options of predict_quality.py."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from options.argument_types import Parser
from options.features import CHECKPOINTS, add_extraction_options


def parse_prediction_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the options; a mistake ends the program with a sentence and status 2.

    Adds ``checkpoints``, kind -> path, of both kinds of features.
    """
    parser = Parser(
        prog="predict_quality.py",
        description="Scores images: features from the encoders, and a regressor fitted by train_regressor.py.",
    )
    parser.add_argument("--input", required=True, help="file, folder, glob or CSV (Image_path or image)")
    parser.add_argument("--regressor", type=Path, default=Path("regressor.skops"), help="from train_regressor.py")
    parser.add_argument(
        "--quality_ckpt", type=Path, default=CHECKPOINTS["quality_aware"], help="the quality-aware encoder, any format"
    )
    parser.add_argument(
        "--content_ckpt", type=Path, default=CHECKPOINTS["content_aware"], help="the content-aware encoder, any format"
    )
    files = parser.add_argument_group("files")
    files.add_argument("--output", type=Path, metavar="SCORES.csv", help="write image and score of every image there")
    files.add_argument(
        "--features", type=Path, help="folder of features: what it lacks is computed and kept there (default: not kept)"
    )
    files.add_argument("--labels", type=Path, help="CSV with image and mos, to compare the scores with")
    files.add_argument("--lower_is_better", action="store_true", help="the scores of --labels are difference scores")
    add_extraction_options(parser)
    options = parser.parse_args(arguments)
    if options.output and options.output.suffix.lower() != ".csv":
        parser.error(f"--output {options.output}: the name must end in .csv")
    options.checkpoints = {"quality_aware": options.quality_ckpt, "content_aware": options.content_ckpt}
    return options
