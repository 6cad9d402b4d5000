"""Options of predict_quality.py, and those of every script that scores images."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.errors import UserError
from common.names import CHECKPOINTS, CONTENT_AWARE, INTERVAL_LEVELS, QUALITY_AWARE
from options.builder import REQUIRED, option, parse, part
from options.features import INPUT_HELP, ComputeOptions


@dataclass(frozen=True)
class ScoringOptions:
    """Images and a model. Without ``regressor``, regressor.skops in the current folder, or else the embedded model."""

    input: tuple[str, ...] = option(REQUIRED, INPUT_HELP, nargs="+")
    regressor: Path | None = option(
        None, "regressor from train_regressor.py (default: regressor.skops if it exists, else the embedded model)"
    )
    quality_ckpt: Path = option(CHECKPOINTS[QUALITY_AWARE], "quality-aware encoder, any known format")
    content_ckpt: Path = option(CHECKPOINTS[CONTENT_AWARE], "content-aware encoder, any known format")

    @property
    def checkpoints(self) -> dict[str, Path]:
        """Kind -> encoder."""
        return {QUALITY_AWARE: self.quality_ckpt, CONTENT_AWARE: self.content_ckpt}


@dataclass(frozen=True)
class PredictionOptions(ScoringOptions):
    """Scores images by the embedded model, or by encoders and a regressor fitted by train_regressor.py."""

    interval: float | None = option(
        None, "print a prediction interval beside each score; 0.9: nine of ten opinions lie inside",
        at_least=INTERVAL_LEVELS[0], at_most=INTERVAL_LEVELS[-1], metavar="LEVEL",
    )  # fmt: skip
    output: Path | None = option(
        None, "SCORES.csv: a row for each input with path, score and interval; SCORES.html: a page with thumbnails and "
        "scores, and with --map also the maps",
        group="files", metavar="SCORES",
    )  # fmt: skip
    features: Path | None = option(
        None, "folder of features; missing ones are computed and kept there (default: not kept)"
    )
    map: Path | None = option(
        None, "write a picture of each image here, beside a map of local quality: red lowers its score, blue raises it",
        metavar="OUT_DIR",
    )  # fmt: skip
    labels: Path | None = option(None, "CSV with opinion scores (image and mos), to be compared with the scores")
    lower_is_better: bool = option(False, "the scores of --labels are difference scores: lower is better")
    compute: ComputeOptions = part()

    def __post_init__(self) -> None:
        if self.output and not self.wants_page and self.output.suffix.lower() != ".csv":
            raise UserError(f"--output {self.output}: the name must end in .csv or .html")

    @property
    def wants_page(self) -> bool:
        """Whether ``output`` is a page to look at; otherwise it is a table."""
        return self.output is not None and self.output.suffix.lower() in (".html", ".htm")


parse_prediction_options = partial(parse, PredictionOptions, "predict_quality.py")
