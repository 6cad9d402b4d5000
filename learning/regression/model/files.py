"""A fitted regressor on disk: the model (``networks.regressor``), and scikit-learn's pipeline for other programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from common.atomic_files import whole_file
from learning.regression.model.description import RegressorDescription
from networks.regressor import FORMAT, description_file, load_description, sha256_of, weights_file, write_weights

if TYPE_CHECKING:
    from networks.regressor import LinearModel


def save_regressor(
    path: Path, model: LinearModel, description: RegressorDescription, held_out: Path | None = None
) -> None:
    """Writes pipeline, weights and description, each completely or not at all.

    The description holds the SHA-256 of the weights and, if there is one, of the file ``held_out``.
    """
    from learning.regression.model.pipeline_files import write_pipeline  # imports scikit-learn

    write_pipeline(path, model, description.hyperparameters)
    write_weights(weights_file(path), model)
    digests = {"weights_sha256": sha256_of(weights_file(path))}
    if held_out is not None:
        digests["held_out_sha256"] = sha256_of(held_out)
    with whole_file(description_file(path)) as temporary:
        content = {"format": FORMAT, **digests, **asdict(description)}
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_description(path: Path, held_out: Path | None = None) -> RegressorDescription:
    """The description alone, from its JSON file; UserError where it is missing, damaged or of another format.

    Also where the predictions ``held_out`` were not written with it.
    """
    recorded = {"held_out_sha256": held_out} if held_out is not None and held_out.is_file() else {}
    return load_description(path, RegressorDescription, recorded)
