"""Checkpoints of encoders in any program's format, recognised by the names and shapes in the file.

A ResNet is found wherever its layers are: under any prefix, in any dictionary of the file, with torchvision's layer
names or the positions of an ``nn.Sequential``; an EfficientNet-Lite0 wherever timm's layer names are. Nothing is
guessed: a file with several different encoders is refused unless their names tell which one is meant.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .checkpoint_files import State, read_file
from .efficientnet import LITE0
from .encoder import STAGES, STEM, build_encoder
from .errors import UserError
from .names import ARCHITECTURES

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names that DistributedDataParallel, torch.compile, FSDP and activation checkpointing insert, anywhere in a name."""

WEIGHT_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Types of weights that are numbers as they are. Quantised ones need a scale, which other tensors hold."""

LITE0_STEM = "conv_stem.weight"
"""The first layer of an EfficientNet-Lite0, by timm's name."""

SECONDARY = frozenset(("k", "key", "ema", "momentum", "target", "student"))
"""Parts of names of the second of two encoders: the momentum copy, and DINO's student, whose teacher is evaluated."""


@dataclass(frozen=True)
class Checkpoint:
    """An encoder in a file, ``encoder`` under the layer names of torchvision or timm.

    ``path`` leads to its dictionary in the file's content. There the names of its tensors begin with ``prefix``.
    """

    path: tuple[str, ...]
    prefix: str
    encoder: State

    @property
    def architecture(self) -> str | None:
        """The architecture that has exactly these names and shapes, or None."""
        # A ResNet's number counts its convolutions outside the shortcuts, and the classifier.
        depth = 2 + sum(re.fullmatch(r"layer\d\.\d+\.conv\d\.weight", name) is not None for name in self.encoder)
        arch = LITE0 if LITE0_STEM in self.encoder else f"resnet{depth}"
        return arch if arch in ARCHITECTURES and architecture_shapes(arch) == _shapes(self.encoder) else None

    @property
    def location(self) -> str:
        """Where in the file the encoder is, such as ``model > encoder.*``."""
        return " > ".join((*self.path, f"{self.prefix}*"))


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Reads and recognises a checkpoint.

    Raises UserError where it holds no encoder, several different ones, or values that are not finite.
    """
    content = read_file(path)
    try:
        checkpoint = find_encoder(content)
    except UserError as error:
        raise UserError(f"checkpoint {path} {error}") from None
    if checkpoint is None:
        keys = ", ".join(str(key) for key in list(content)[:5])
        raise UserError(
            f"checkpoint {path} holds no ResNet encoder: no layers conv1, bn1, layer1 to layer4 under any prefix, and "
            f"no sequence of such layers (nor an EfficientNet-Lite0's); its first keys are: {keys[:200] or 'none'}"
        )
    for name, value in checkpoint.encoder.items():
        if name.endswith("num_batches_tracked"):  # inference does not read it
            continue
        if value.dtype not in WEIGHT_TYPES or value.layout is not torch.strided or value.is_meta:
            held = "has no values" if value.is_meta else f"is {value.dtype}, {value.layout}"
            raise UserError(
                f"checkpoint {path}: {name} {held}; needed are dense weights of 16 to 64 bits in floating point, not "
                "quantised or sparse ones"
            )
        if not torch.isfinite(value).all():
            raise UserError(f"checkpoint {path} is damaged: {name} holds values that are not finite")
    return checkpoint


def find_encoder(content: dict[str, Any]) -> Checkpoint | None:
    """Finds the encoder in a checkpoint's content; None if there is none.

    Of several, a complete one comes before one with missing layers, and the encoder that is evaluated before its
    momentum copy (``SECONDARY``). Raises UserError, a sentence that continues "checkpoint FILE", where several
    different encoders could be meant.
    """
    found = [
        encoder
        for path, state in tensor_dictionaries(content)
        for encoder in (*_resnets(path, state), *_lite0s(path, state))
    ]
    found = [encoder for encoder in found if encoder.architecture] or found
    primary = [
        each for each in found if SECONDARY.isdisjoint(re.split(r"[._]", ".".join((*each.path, each.prefix))))
    ] or found
    n_different = len({fingerprint(each.encoder) for each in primary}) if len(primary) > 1 else 1
    if n_different > 1:
        places = ", ".join(each.location for each in primary[:4])
        raise UserError(
            f"holds {n_different} different encoders ({places}), and their names do not tell which one is meant: save "
            "its state_dict alone"
        )
    return primary[0] if primary else None


def tensor_dictionaries(content: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], State]]:
    """Every dictionary of tensors in ``content``, with its path, its names without the wrappers' parts."""
    state: State = {}
    for name, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.dtype.isnative:
            value = torch.from_numpy(value)
        if isinstance(value, torch.Tensor) and isinstance(name, str):
            plain = ".".join(part for part in name.split(".") if part not in WRAPPERS)
            if plain in state:
                raise UserError(f"holds two tensors named {plain} (once as {name}): save one of the two models alone")
            state[plain] = value
    if state:
        yield path, state
    for name, value in content.items():
        if isinstance(value, dict):
            yield from tensor_dictionaries(value, (*path, str(name)))


_CONVOLUTION_OF_A_BLOCK = re.compile(r"(?P<stage>.+)\.\d+\.conv[1-3]\.weight", re.ASCII)


def _resnets(path: tuple[str, ...], state: State) -> Iterator[Checkpoint]:
    """The ResNets in a dictionary of tensors: places with stages of blocks beside each other. Layers may be missing."""
    stages: dict[str, set[str]] = {}
    for name in state:
        if found := _CONVOLUTION_OF_A_BLOCK.fullmatch(name):
            parent, _, child = found["stage"].rpartition(".")
            stages.setdefault(f"{parent}." if parent else "", set()).add(child)
    for prefix, children in stages.items():
        local = without_prefix(state, prefix)
        if children & set(STAGES):
            layers = dict(zip(STEM + STAGES, STEM + STAGES, strict=True))
        elif len(children) == len(STAGES) and all(child.isdecimal() for child in children):
            layers = _sequential_layers(local, sorted(children, key=int))
        else:
            continue
        parts = {name: name.partition(".") for name in local}
        encoder = {f"{layers[one]}.{rest}": local[name] for name, (one, _, rest) in parts.items() if one in layers}
        if {name.partition(".")[0] for name in encoder} >= {STEM[0], *STAGES}:
            yield Checkpoint(path, prefix, encoder)


def _lite0s(path: tuple[str, ...], state: State) -> Iterator[Checkpoint]:
    """The networks with an EfficientNet-Lite0's layers in a dictionary of tensors. Layers may be missing."""
    layers = {name.partition(".")[0] for name in architecture_shapes(LITE0)}
    for stem in state:
        prefix = stem.removesuffix(LITE0_STEM)
        if stem == prefix or f"{prefix}blocks.0.0.conv_dw.weight" not in state:
            continue
        local = without_prefix(state, prefix)
        encoder = {name: value for name, value in local.items() if name.partition(".")[0] in layers}
        yield Checkpoint(path, prefix, encoder)


def _sequential_layers(local: State, stages: Sequence[str]) -> dict[str, str]:
    """Position in an ``nn.Sequential`` -> torchvision's name: the convolution and BatchNorm before the four stages."""
    parts = {name: name.partition(".") for name in local}
    before = {name: (at, rest) for name, (at, _, rest) in parts.items() if at.isdecimal() and int(at) < int(stages[0])}
    convolutions = [at for name, (at, rest) in before.items() if rest == "weight" and local[name].ndim == 4]
    norms = [at for at, rest in before.values() if rest == "running_mean"]
    if len(convolutions) > 1 or len(norms) > 1:
        return {}
    stem = dict.fromkeys(convolutions, STEM[0]) | dict.fromkeys(norms, STEM[1])
    return stem | dict(zip(stages, STAGES, strict=True))


def without_prefix(state: State, prefix: str) -> State:
    """The entries whose names begin with ``prefix``, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    # Checkpoints older than PyTorch 0.4.1 lack the counters, and inference does not read them.
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}


@functools.lru_cache
def architecture_shapes(arch: str) -> dict[str, tuple[int, ...]]:
    """Parameter and buffer names of an encoder with their shapes, without the batch counters."""
    with torch.device("meta"):
        return _shapes(build_encoder(arch, initialise=False).state_dict())


def describe_differences(encoder: State, arch: str | None = None) -> str:
    """The first names whose shapes differ from those of ``arch``, or of the architecture with the most in common."""
    found = _shapes(encoder)
    arch = arch or max(ARCHITECTURES, key=lambda one: len(found.items() & architecture_shapes(one).items()))
    expected = architecture_shapes(arch)
    differing = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    details = [
        f"{name}: {found.get(name, 'missing')} in the file, {expected.get(name, 'none')} in {arch}"
        for name in differing[:3]
    ]
    if len(differing) > 3:
        details.append(f"and {len(differing) - 3:,d} more")
    return "; ".join(details)


def read_encoder(path: str | os.PathLike, arch: str | None = None) -> tuple[str, State]:
    """The architecture and the weights of the encoder in a checkpoint; UserError where it is not an ``arch``."""
    checkpoint = read_checkpoint(path)
    fitting = checkpoint.architecture
    if fitting is None or arch not in (None, fitting):
        differences = describe_differences(checkpoint.encoder, arch)
        advice = f"; it is a {fitting}: use --arch {fitting}" if fitting else ""
        raise UserError(f"checkpoint {path} does not fit {arch or 'any known architecture'} ({differences}){advice}")
    return fitting, checkpoint.encoder


def load_encoder(path: str | os.PathLike, arch: str | None = None) -> nn.Module:
    """An encoder in evaluation mode: (N, 3, H, W) float in [0, 1], normalised by the caller -> (N, features).

    Reads every format of ``find_encoder``. The architecture is read from the file; ``arch`` names the one that is
    expected there. Raises UserError for a file that cannot be read, is unsafe, holds no known architecture, or another
    one than ``arch``.
    """
    fitting, state = read_encoder(path, arch)
    encoder = build_encoder(fitting, initialise=False)
    encoder.load_state_dict(state, strict=False)  # old checkpoints lack the batch counters
    return encoder.eval()


def fingerprint(encoder: State) -> str:
    """SHA-256 of an encoder's weights (its state_dict), hexadecimal; the same in every file format."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
