"""The device on which features are computed, and the encoders made ready for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from common.errors import UserError
from common.names import CONTENT_AWARE
from learning.distributed.environment import ProcessContext
from networks.checkpoint_formats import load_encoder
from networks.features import FeatureExtractor
from options.images import ComputeOptions


def extraction_device(requested: str | None, context: ProcessContext) -> torch.device:
    """The requested device, or by default this process's GPU, or else the CPU; UserError for one that is missing.

    A number means the GPU of that number; case does not matter.
    """
    if requested is None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", context.local_rank % torch.cuda.device_count())
    name = f"cuda:{requested}" if requested.isdecimal() else requested.lower()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"--device {requested} cannot be used here: {reason}") from None
    return device


def load_extractors(
    checkpoints: Mapping[str, Path], poolings: Mapping[str, str], compute: ComputeOptions, device: torch.device
) -> dict[str, FeatureExtractor]:
    """kind -> extractor; UserError, with the remedy, where a checkpoint is missing.

    Each checkpoint tells its architecture, so the encoders may differ in it. ``poolings`` is kind -> one of POOLINGS.
    """
    extractors = {}
    for kind, path in checkpoints.items():
        if not path.exists():
            raise UserError(
                f"checkpoint {path} does not exist: train an encoder (main_contrast.py), or get the released weights "
                "and put them there, or name another checkpoint (--help lists the options)"
            )
        encoder = load_encoder(path)
        extractors[kind] = FeatureExtractor(encoder, kind == CONTENT_AWARE, device, compute.amp, poolings[kind])
    return extractors
