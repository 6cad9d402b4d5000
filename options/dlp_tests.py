"""Options of ``python -m learning.regression.dlp_tests``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from options.argument_types import Parser, number
from options.features import INPUT_HELP, ComputeOptions, add_model_options, model_checkpoints


@dataclass(frozen=True)
class DlpOptions:
    """What the tests are run on; ``checkpoints`` is kind -> path, the other fields are options of their names."""

    input: tuple[str, ...]
    regressor: Path | None
    checkpoints: dict[str, Path]
    output: Path | None
    scores: Path | None
    max_side: int
    seed: int
    compute: ComputeOptions


def parse_dlp_options(arguments: Sequence[str] | None = None) -> DlpOptions:
    """Parses the options; a mistake ends the program with a sentence and status 2."""
    parser = Parser(
        prog="python -m learning.regression.dlp_tests",
        description="The D-, L- and P-test of a quality model, on undistorted photographs and their distorted versions "
        "(26 kinds at 5 levels). No opinion scores are needed.",
    )
    parser.add_argument("--input", nargs="+", required=True, help=f"undistorted photographs: {INPUT_HELP}")
    add_model_options(parser)
    parser.add_argument("--output", type=Path, metavar="TABLE.csv", help="write the results here: a row per kind")
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="SCORES.csv",
        help="write the score of every version here",
    )
    parser.add_argument(
        "--max_side",
        type=number(int, 1),
        default=768,
        help="reduce larger photographs to this long side before they are distorted, pixels",
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, help="random seed for the distortions")
    compute = parser.add_argument_group("computing")
    compute.add_argument("--device", help="cpu, cuda, cuda:N or N (default: a GPU if there is one)")
    compute.add_argument("--amp", action="store_true", help="compute in bfloat16 or float16: faster, less exact")
    compute.add_argument("--batch_size", type=number(int, 1), default=8, help="images per batch")
    namespace = parser.parse_args(arguments)
    for name in ("output", "scores"):
        path: Path | None = getattr(namespace, name)
        if path and path.suffix.lower() != ".csv":
            parser.error(f"--{name} {path}: the name must end in .csv")
    if namespace.output and namespace.output == namespace.scores:
        parser.error("--output and --scores name the same file; they are different tables")
    return DlpOptions(
        input=tuple(namespace.input),
        regressor=namespace.regressor,
        checkpoints=model_checkpoints(namespace),
        output=namespace.output,
        scores=namespace.scores,
        max_side=namespace.max_side,
        seed=namespace.seed,
        compute=ComputeOptions(device=namespace.device, amp=namespace.amp, batch_size=namespace.batch_size),
    )
