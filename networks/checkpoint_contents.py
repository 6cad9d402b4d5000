"""What else a checkpoint holds beside the encoder: the program that saved it, head, epoch and other tensors."""

from __future__ import annotations

from collections import Counter

from .checkpoint_formats import Checkpoint, tensor_dictionaries

CLASSIFIER = "fc."
"""In a ResNet's state_dict: the layer between the pooled features and the classes."""

HEAD_PREFIXES = ("head.", "projector.", "projection_head.layers.", "projection_head.")
"""Names of the projection head beside the encoder, by program."""


def program(checkpoint: Checkpoint) -> str:
    """The program that saved the file, where its structure shows it."""
    if checkpoint.path == ("model",) and checkpoint.prefix == "encoder.":
        return "this project's" if "queue_position" in checkpoint.content else "Re-IQA or PyContrast"
    if checkpoint.prefix == "encoder_q.":
        return "MoCo"
    if checkpoint.prefix == "base_encoder.":
        return "MoCo v3"
    return "Lightning" if "pytorch-lightning_version" in checkpoint.content else "state_dict"


def epoch(checkpoint: Checkpoint) -> int | None:
    """The number of epochs that the file names."""
    value = checkpoint.content.get("epoch")
    return int(value) if isinstance(value, int) else None


def head_kind(checkpoint: Checkpoint) -> str:
    """ "none", "linear" (one layer), "mlp" (two layers) or the number of linear layers of the projection head."""
    prefix = _head_prefix(checkpoint)
    n_layers = sum(
        name.startswith(prefix) and name.endswith("weight") and value.ndim == 2
        for name, value in checkpoint.state.items()
        if prefix
    )
    return {0: "none", 1: "linear", 2: "mlp"}.get(n_layers, f"{n_layers} layers")


def left_out(checkpoint: Checkpoint) -> list[str]:
    """The tensors that are neither encoder nor head, as "name (number)", by the first parts of their names."""
    head, prefix = _head_prefix(checkpoint), checkpoint.prefix
    counts: Counter[str] = Counter()
    for path, state in tensor_dictionaries(checkpoint.content):
        for name in state:
            if path != checkpoint.path:
                counts[path[0] if path else name.split(".")[0]] += 1
            elif name not in checkpoint.names and not (head and name.startswith(head)):
                start = prefix if name.startswith(prefix) else ""
                counts[start + name.removeprefix(start).split(".")[0]] += 1
    return [f"{name} ({count})" for name, count in counts.items()]


def _head_prefix(checkpoint: Checkpoint) -> str:
    """The prefix of the projection head: MoCo's ``fc``, or a head beside the encoder; "" if there is none."""
    classifier = checkpoint.prefix + CLASSIFIER
    # MoCo and SimSiam put the head in the place of the classifier, which is one layer in any other program.
    if f"{classifier}0.weight" in checkpoint.state or (
        classifier == "encoder_q.fc." and f"{classifier}weight" in checkpoint.state
    ):
        return classifier
    parent = checkpoint.prefix.rstrip(".").rpartition(".")[0]
    for name in HEAD_PREFIXES:
        for place in (checkpoint.prefix, f"{parent}." if parent else ""):
            if any(key.startswith(place + name) for key in checkpoint.state):
                return place + name
    return ""
