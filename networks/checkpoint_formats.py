"""Weights on disk: every format in which a ResNet encoder comes, told apart by its keys, never by guessing."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from common.errors import UserError
from networks.encoder import ARCHITECTURES, build_encoder

State = dict[str, torch.Tensor]

CLASSIFIER = "fc."
"""What a ResNet's state_dict holds beyond the encoder: the layer between pooled values and classes."""


@dataclass
class Checkpoint:
    """What was found in a file: the encoder's weights under torchvision's names, the head's, and where from."""

    format: str
    encoder: State
    head: State = field(default_factory=dict)
    epoch: int | None = None

    @property
    def head_kind(self) -> str:
        linear_layers = sum(name.endswith("weight") for name in self.head)
        return {0: "none", 1: "linear", 2: "mlp"}.get(linear_layers, f"{linear_layers} layers")


def read_file(path: str | os.PathLike, mmap: bool = False) -> dict[str, Any]:
    """The dictionary in a .safetensors or a torch file, read without executing anything in it, on the CPU.

    With ``mmap``, weights are read from the disk only when they are looked at. Raises UserError for a file that is
    missing, broken, not a dictionary, or that holds more than data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist" if not path.exists() else f"{path} is not a file")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # A Namespace is plain data: released checkpoints carry their options in one.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "not an allowed global" in str(error):
            raise UserError(
                f"checkpoint {path} is unsafe: it asks for code to be run when it is read, and is refused. "
                "Ask its author for the weights alone (a state_dict or a .safetensors file)"
            ) from None
        raise UserError(f"checkpoint {path} is not a checkpoint, or is damaged") from None
    except Exception as error:  # a damaged file leads torch's readers to whatever it happens to hold
        reason = str(error).split("\n")[0][:200]
        raise UserError(f"checkpoint {path} is not a checkpoint, or is damaged: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path} holds a {type(content).__name__}, not a dictionary of weights")
    return content


def without_prefix(state: State, prefix: str) -> State:
    """The entries whose names begin with ``prefix``, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def with_prefix(state: State, prefix: str) -> State:
    """All entries, under names that begin with ``prefix``."""
    return {prefix + name: value for name, value in state.items()}


def parse_checkpoint(content: dict[str, Any]) -> Checkpoint | None:
    """Recognises the formats; None if the dictionary is none of them.

    - ours, Re-IQA's and PyContrast's: ``model`` with ``encoder.*`` and ``head.*``
    - MoCo's: ``state_dict`` with ``encoder_q.*``, in which ``fc.*`` is the head
    - a bare ResNet state_dict, torchvision's names, with ``fc.*`` as classifier

    all with or without the prefix ``module.`` of a distributed wrapper.
    """
    epoch = content.get("epoch")
    epoch = int(epoch) if isinstance(epoch, int) else None
    for holder in ("model", "state_dict", None):
        state = content if holder is None else content.get(holder)
        if not isinstance(state, dict):
            continue
        state = {
            name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, torch.Tensor)
        }
        if any(name.startswith("module.") for name in state):
            state = without_prefix(state, "module.")
        if "encoder.conv1.weight" in state:
            origin = "this project's" if "queue_position" in content else "Re-IQA or PyContrast"
            return Checkpoint(origin, without_prefix(state, "encoder."), without_prefix(state, "head."), epoch)
        if "encoder_q.conv1.weight" in state:
            query = without_prefix(state, "encoder_q.")
            head = without_prefix(query, CLASSIFIER)
            # MoCo v1's head is one layer named fc, v2's two layers named fc.0 and fc.2.
            head = head if "0.weight" in head or not head else with_prefix(head, "0.")
            return Checkpoint("MoCo", _without_classifier(query), head, epoch)
        if "conv1.weight" in state:
            return Checkpoint("ResNet state_dict", _without_classifier(state), epoch=epoch)
    return None


def _without_classifier(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith(CLASSIFIER)}


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    # Checkpoints older than PyTorch 0.4.1 lack the counters, and nothing here reads them.
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}


def architecture_shapes(arch: str) -> dict[str, tuple[int, ...]]:
    """Parameter and buffer names of an encoder with their shapes, without the batch counters."""
    with torch.device("meta"):
        return _shapes(build_encoder(arch).state_dict())


def find_architecture(encoder: State) -> str | None:
    """The architecture whose names and shapes are exactly those of ``encoder``, or None."""
    found = _shapes(encoder)
    return next((arch for arch in ARCHITECTURES if architecture_shapes(arch) == found), None)


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Reads and recognises a checkpoint; UserError, with the first keys, where it is no ResNet encoder's."""
    content = read_file(path)
    checkpoint = parse_checkpoint(content)
    if checkpoint is None:
        keys = ", ".join(str(key) for key in list(content)[:5])
        raise UserError(
            f"checkpoint {path} holds no ResNet encoder: expected 'model' (Re-IQA, PyContrast), 'state_dict' (MoCo) "
            f"or a ResNet's layers; its first keys are: {keys or 'none'}"
        )
    for name, value in checkpoint.encoder.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(f"checkpoint {path} is damaged: {name} holds values that are not finite")
    return checkpoint


def load_encoder_state(encoder: nn.Module, checkpoint: Checkpoint, arch: str, source: str | os.PathLike) -> None:
    """Fills ``encoder``; UserError with the first differences and the fitting architecture where it does not fit."""
    wanted, found = architecture_shapes(arch), _shapes(checkpoint.encoder)
    if wanted != found:
        differing = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
        details = "; ".join(
            f"{name}: {found.get(name, 'missing')} in the file, {wanted.get(name, 'none')} in {arch}"
            for name in differing[:3]
        )
        fitting = find_architecture(checkpoint.encoder)
        advice = f"it is a {fitting}: use --arch {fitting}" if fitting else "no known architecture fits it"
        raise UserError(f"checkpoint {source} does not fit {arch} ({details}); {advice}")
    encoder.load_state_dict(checkpoint.encoder, strict=False)


def load_encoder(path: str | os.PathLike, arch: str = "resnet50") -> nn.Module:
    """An encoder in evaluation mode: (N, 3, H, W) float in [0, 1], normalised by the caller -> (N, features).

    Reads every format of ``parse_checkpoint``, and .safetensors as ``networks.checkpoints --export`` writes it.
    Raises UserError for a file that cannot be read, is unsafe, or does not fit ``arch``.
    """
    encoder = build_encoder(arch)
    load_encoder_state(encoder, read_checkpoint(path), arch, path)
    return encoder.eval()


def fingerprint(encoder: State) -> str:
    """SHA-256 of an encoder's weights (its state_dict), hexadecimal; the same whatever file format they came in."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
