"""A scorer as an ONNX file with any number and size of images, compared with the scorer before it is kept."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from common.atomic_files import whole_file

from .errors import UserError
from .scorer import QualityScorer

SIZES = ((1, 96, 128), (2, 97, 131), (3, 64, 201), (1, 224, 160), (2, 33, 34))
"""Batch size, height and width of the images on which a file is compared: even, odd, tall, wide, small."""

TOLERANCE = 1e-4
"""Largest difference between file and module, as a share of the largest result (at least 1)."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")

INPUT, AXES = "image", {0: "batch", 2: "height", 3: "width"}
"""Name of the input, and of those of its axes that may have any length."""


def require_packages() -> None:
    """UserError where one of the optional packages is missing."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"ONNX export needs {' and '.join(missing)}: pip install -r requirements-export.txt")


def export_onnx(scorer: QualityScorer, path: Path) -> float:
    """Writes a scorer as ONNX, after a comparison in onnxruntime; returns the largest difference.

    What the scorer says of itself is kept in the file as metadata. Raises UserError where the results of the file
    differ, or where it cannot be written.
    """
    with whole_file(path) as temporary:
        names: dict[str, Any] = {"input_names": [INPUT], "output_names": ["score"], "dynamic_shapes": (AXES,)}
        program = torch.onnx.export(trace(scorer), dynamo=True, verbose=False, **names)
        assert program is not None  # as always with dynamo
        program.model.metadata_props.update(scorer.about)
        program.save(temporary)
        return largest_difference(scorer, run_onnx(temporary), path)


def trace(module: nn.Module) -> ExportedProgram:
    """``module``, images (N, 3, H, W) -> results, as a program for any N, H and W."""
    shapes = (dict.fromkeys(AXES, Dim.DYNAMIC),)
    config = importlib.import_module("torch.fx.experimental._config")
    # Lets feature maps have sides of 1 pixel; torch versions without this setting assume 2 or more.
    known = hasattr(config, "backed_size_oblivious")
    with config.patch(backed_size_oblivious=True) if known else contextlib.nullcontext():
        return torch.export.export(module, (torch.rand(2, 3, 96, 128),), dynamic_shapes=shapes)


def run_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """The ONNX file as a function, on the CPU: (N, 3, H, W) images -> scores."""
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0])


def largest_difference(module: nn.Module, exported: Callable[[Tensor], Tensor], path: Path) -> float:
    """The largest difference between ``module`` and ``exported``, as a share of the largest result (at least 1).

    Images of every size are noise, once with 8-bit values and once without. Raises UserError above TOLERANCE.
    """
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
