"""Where features are computed, and the encoders readied for it: for the feature scripts and for prediction."""

from __future__ import annotations

from pathlib import Path

import torch

from common.errors import UserError
from learning.distributed.process_group import ProcessContext
from networks.checkpoint_formats import load_encoder
from networks.compilation import require_compiler
from networks.features import FeatureExtractor


def extraction_device(requested: str | None, context: ProcessContext) -> torch.device:
    """The device asked for, or this process's GPU, or the CPU; UserError for one that is not there."""
    if requested is None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", context.local_rank % torch.cuda.device_count())
    try:
        device = torch.device(requested)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"--device {requested} cannot be used here: {reason}") from None
    return device


def load_extractors(
    checkpoints: dict[str, Path], arch: str, device: torch.device, amp: bool, compile: bool
) -> dict[str, FeatureExtractor]:
    """kind -> extractor; UserError where a checkpoint is missing or compiling fails, with what to do about it."""
    extractors = {}
    if compile:
        require_compiler(device)
    for kind, path in checkpoints.items():
        if not path.exists():
            raise UserError(
                f"checkpoint {path} does not exist: train an encoder (main_contrast.py) or get the released weights "
                "and put them there, or name another (--help says how)"
            )
        extractors[kind] = FeatureExtractor(load_encoder(path, arch), kind == "content_aware", device, amp, compile)
    return extractors
