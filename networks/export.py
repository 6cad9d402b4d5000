"""``python -m networks.export --onnx OUT.onnx``: the scorer or an encoder in a file that other programs run.

The file takes float images (N, 3, H, W) in [0, 1] with any N, H and W. Before it is kept, its results are compared with
the module's on five sizes. ``--torch_export OUT.pt2`` writes torch.export's format. By default it is the embedded
scorer; ``--regressor`` with checkpoints, or ``--encoder``, name another module.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from common import log
from common.atomic_files import check_target, whole_file
from common.errors import UserError
from common.process import run_script

# torch is imported where it is used: it takes two seconds, and --help needs none of it.
if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

SIZES = ((1, 96, 128), (2, 97, 131), (3, 64, 201), (1, 224, 160), (2, 33, 34))
"""Batch size, height and width of the images on which a file is compared: even, odd, tall, wide, small."""

TOLERANCE = 1e-4
"""Largest difference between file and module, as a share of the largest result (at least 1)."""

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
REQUIREMENTS = "requirements-export.txt"

Run: TypeAlias = "Callable[[Tensor], Tensor]"
"""(N, 3, H, W) images -> scores or features."""


def trace(module: nn.Module) -> ExportedProgram:
    """``module``, images (N, 3, H, W) -> results, as a program for any N, H and W."""
    import torch
    from torch.export import Dim

    images = torch.rand(2, 3, 96, 128)
    shapes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    with _sides_of_one_pixel():
        return torch.export.export(module, (images,), dynamic_shapes=shapes)


@contextlib.contextmanager
def _sides_of_one_pixel() -> Iterator[None]:
    """Lets a program's feature maps have sides of 1 pixel; torch versions without this setting assume 2 or more."""
    config = importlib.import_module("torch.fx.experimental._config")
    if not hasattr(config, "backed_size_oblivious"):
        yield
        return
    with config.patch(backed_size_oblivious=True):
        yield


def export_torch(module: nn.Module, path: Path) -> float:
    """Writes ``module`` in torch.export's format, after a comparison; returns the largest difference.

    Raises UserError where the results of the file differ, or where it cannot be written.
    """
    import torch

    with whole_file(path) as temporary:
        torch.export.save(trace(module), temporary)
        return compare(module, torch.export.load(temporary).module(), path)


def export_onnx(module: nn.Module, path: Path) -> float:
    """Writes ``module`` as ONNX, after a comparison in onnxruntime; returns the largest difference.

    Raises UserError where a package is missing, where the results of the file differ, or where it cannot be written.
    """
    import torch

    require_onnx()
    with whole_file(path) as temporary:
        program = torch.onnx.export(trace(module), dynamo=True, verbose=False, input_names=["images"])
        assert program is not None  # as always with dynamo
        program.save(temporary)
        return compare(module, run_onnx(temporary), path)


def require_onnx() -> None:
    """UserError where one of the optional packages is missing."""
    missing = [package for package in ONNX_PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f"ONNX export needs {', '.join(ONNX_PACKAGES)}; "
            f"missing: {', '.join(missing)}: pip install -r {REQUIREMENTS}"
        )


def run_onnx(path: Path) -> Run:
    """The ONNX file as a function, on the CPU."""
    import torch

    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return run


def compare(module: nn.Module, exported: Run, path: Path) -> float:
    """The largest difference between ``module`` and ``exported``, as a share of the largest result (at least 1).

    Images of every size are noise, once with 8-bit values and once without. Raises UserError above TOLERANCE.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for n, height, width in SIZES:
        noise = torch.rand((n, 3, height, width), generator=generator)
        for images in (noise, (255 * noise).round() / 255):
            with torch.no_grad():
                expected = module(images)
                difference = (exported(images) - expected).abs().max() / expected.abs().max().clamp(min=1)
            if not difference <= TOLERANCE:
                raise UserError(
                    f"{path} was not written: for images of {width}x{height} its results would differ by "
                    f"{difference:.1e} of the largest one, and {TOLERANCE:g} is allowed"
                )
            largest = max(largest, float(difference))
    return largest


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m networks.export",
        description="Writes the scorer, or an encoder, to a file that other programs run.",
    )
    parser.add_argument("--onnx", type=Path, metavar="OUT.onnx", help="write an ONNX file")
    parser.add_argument("--torch_export", type=Path, metavar="OUT.pt2", help="write a file of torch.export")
    parser.add_argument("--encoder", type=Path, metavar="CKPT", help="export the encoder of this checkpoint alone")
    parser.add_argument("--regressor", type=Path, help="regressor of the scorer (default: the embedded model)")
    parser.add_argument("--quality_ckpt", type=Path, help="checkpoint of the regressor's quality-aware encoder")
    parser.add_argument("--content_ckpt", type=Path, help="checkpoint of the regressor's content-aware encoder")
    options = parser.parse_args(arguments)
    if not options.onnx and not options.torch_export:
        parser.error("name at least one file to write: --onnx OUT.onnx, --torch_export OUT.pt2")
    if options.encoder and (options.regressor or options.quality_ckpt or options.content_ckpt):
        parser.error("--encoder exports an encoder alone; leave out --regressor and its checkpoints")
    return options


def load_module(options: argparse.Namespace) -> nn.Module:
    """The encoder or the scorer that the options name; UserError where a file is missing or does not fit."""
    from networks.checkpoint_formats import load_encoder

    if options.encoder:
        return load_encoder(options.encoder).requires_grad_(False)
    # The scorer joins networks and learning, which this package does not import; hubconf.py is where they meet.
    from hubconf import re_iqa

    return re_iqa(options.regressor, options.quality_ckpt, options.content_ckpt)


def export(options: argparse.Namespace) -> None:
    """Writes the files that the options name and prints their size and difference."""
    writers = ((options.onnx, ".onnx", export_onnx), (options.torch_export, ".pt2", export_torch))
    for path, ending, _ in writers:
        if path and path.suffix != ending:
            raise UserError(f"{path}: the name must end in {ending}")
        if path:
            check_target(path)
    if options.onnx:
        require_onnx()
    module = load_module(options)
    for path, _, write in writers:
        if path:
            difference = write(module, path)
            log.info(
                f"{path}: {path.stat().st_size / 2**20:.1f} MiB, equal to torch on {len(SIZES)} sizes "
                f"(largest difference {difference:.1e})"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the command line asks for; UserError where a file is missing or a package is not installed."""
    export(parse(arguments))


if __name__ == "__main__":
    log.set_script("networks.export")
    run_script(main)
