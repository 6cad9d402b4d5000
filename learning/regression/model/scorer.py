"""A regressor file and its encoders joined into one ``networks.QualityScorer``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common.errors import UserError
from common.names import pooling_of
from learning.regression.model.files import Regressor, load_regressor
from networks.checkpoint_formats import fingerprint, load_encoder
from networks.embedded import embedded_encoder, embedded_model
from networks.pooling import identity
from networks.scorer import Calibration, LinearHead, QualityScorer, ScorerEncoder


def load_scorer(
    regressor: str | Path | None = None, checkpoints: Mapping[str, str | Path | None] | None = None
) -> QualityScorer:
    """The scorer of a regressor file and its encoders: images (N, 3, H, W) in [0, 1] -> (N,) scores.

    ``checkpoints`` maps "quality_aware" and "content_aware" to a checkpoint. Without ``regressor`` it is the embedded
    one; its kinds of features that have no checkpoint use the embedded encoder. Raises UserError where a file is
    missing or damaged, or where an encoder is not the one that the regressor was fitted with.
    """
    checkpoints = checkpoints or {}
    path = Path(regressor) if regressor is not None else embedded_model().regressor
    fitted = load_regressor(path)
    encoders = []
    for kind in fitted.kinds:
        named = checkpoints.get(kind)
        if named is None and regressor is not None:
            raise UserError(f"the regressor {path} takes {kind} features: name the checkpoint of their encoder, too")
        checkpoint = Path(named) if named is not None else embedded_encoder(kind)
        network = load_encoder(checkpoint)
        pooling = pooling_of(fitted.description.encoders.get(kind))
        found = identity(fingerprint(network.state_dict()), pooling)
        fitted.check_encoder(kind, found, f"checkpoint {checkpoint}")
        encoders.append(ScorerEncoder(network, kind == "content_aware", pooling))
    try:
        return QualityScorer(encoders, linear_head(fitted))
    except ValueError as error:
        raise UserError(f"regressor {path}: {error}") from None


def linear_head(regressor: Regressor) -> LinearHead:
    """The standardisation, weights and calibration of a regressor, as arrays."""
    model, calibration = regressor.model, regressor.description.calibration
    return LinearHead(
        mean=model.mean,
        scale=model.scale,
        weights=model.weights,
        intercept=model.intercept,
        calibration=Calibration(calibration.kind, calibration.parameters),
    )
