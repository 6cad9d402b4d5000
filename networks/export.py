"""``python -m networks.export --onnx OUT.onnx``: the scorer in a file that other programs run.

The file takes float images (N, 3, H, W) in [0, 1] with any N, H and W. Before it is kept, its results are compared with
the module's on five sizes. By default it is the embedded scorer; ``--regressor`` with checkpoints names another one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from common import log
from common.atomic_files import check_target
from common.process import run_script

from .errors import UserError
from .names import CONTENT_AWARE, EMBEDDED_MODELS, QUALITY_AWARE


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the command line asks for; UserError where a file is missing or a package is not installed."""
    parser = argparse.ArgumentParser(
        prog="python -m networks.export",
        description="Writes the scorer to a file that other programs run.",
    )
    parser.add_argument("--onnx", type=Path, metavar="OUT.onnx", required=True, help="write this file")
    parser.add_argument("--model", choices=EMBEDDED_MODELS, default=EMBEDDED_MODELS[0], help="default: %(default)s")
    parser.add_argument("--regressor", type=Path, help="regressor of the scorer (default: that of the embedded model)")
    parser.add_argument("--quality_ckpt", type=Path, help="checkpoint of the regressor's quality-aware encoder")
    parser.add_argument("--content_ckpt", type=Path, help="checkpoint of the regressor's content-aware encoder")
    options = parser.parse_args(arguments)
    if options.onnx.suffix != ".onnx":
        raise UserError(f"{options.onnx}: the name must end in .onnx")
    check_target(options.onnx)

    # These import torch, which takes two seconds and --help does not need.
    from .onnx_export import SIZES, export_onnx, require_packages
    from .scorer import load_scorer

    require_packages()
    checkpoints = {QUALITY_AWARE: options.quality_ckpt, CONTENT_AWARE: options.content_ckpt}
    scorer = load_scorer(options.regressor, checkpoints, options.model)
    difference = export_onnx(scorer, options.onnx)
    log.info(
        f"{options.onnx}: {options.onnx.stat().st_size / 2**20:.1f} MiB, equal to torch on {len(SIZES)} sizes "
        f"(largest difference {difference:.1e})"
    )


if __name__ == "__main__":
    run_script(main)
