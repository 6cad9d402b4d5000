"""The complete scorer as one module: images -> quality scores, differentiable, and a map of local quality."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checkpoint_formats import fingerprint, load_encoder
from .embedded import LICENCE, embedded_regressor, encoder_of, model_title
from .encoder import normalize, stage_maps
from .errors import UserError
from .features import fold_batchnorm
from .halving import half_size
from .names import CONTENT_AWARE, EMBEDDED_MODELS, KINDS, LAYER4_MEAN, VERSION, pooling_of, short_identity
from .opinion_mapping import IDENTITY, OpinionMapping
from .pooling import StagesMeanStd, identity, pooled_network, pooled_size
from .regressor import WEIGHTS_SUFFIX, LinearModel, ScoringDescription, load_regressor, sha256_of

OVERSHOOT = 0.1
"""How far values of images may lie outside [0, 1]: a resampling, or a step of an optimiser, goes a little beyond."""


def load_scorer(
    regressor: str | Path | None = None,
    checkpoints: Mapping[str, str | Path | None] | None = None,
    model: str = EMBEDDED_MODELS[0],
) -> QualityScorer:
    """The scorer of a regressor and its encoders: images (N, 3, H, W) in [0, 1] -> (N,) scores.

    Without ``regressor`` it is the embedded ``model``. ``checkpoints`` maps "quality_aware" and "content_aware" to the
    checkpoints of the encoders; without them, they are those of ``encoder_of``. Raises UserError where a file is
    missing or damaged, or where an encoder is not the one that the regressor was fitted with.
    """
    path = Path(regressor) if regressor is not None else embedded_regressor(model)
    fitted = load_regressor(path, ScoringDescription)
    unknown = set(checkpoints or {}) - set(KINDS)
    if unknown:
        raise UserError(f"checkpoints are of {' and '.join(KINDS)}, not of {min(unknown)}")
    encoders = []
    for kind in fitted.description.kinds:
        checkpoint = encoder_of(kind, fitted.description, path, (checkpoints or {}).get(kind))
        network = load_encoder(checkpoint)
        pooling = pooling_of(fitted.description.encoders.get(kind))
        fitted.check_encoder(kind, identity(fingerprint(network.state_dict()), pooling), f"checkpoint {checkpoint}")
        encoders.append(ScorerEncoder(network, kind == CONTENT_AWARE, pooling))
    try:
        scorer = QualityScorer(encoders, fitted.model, fitted.description.calibration)
    except ValueError as error:
        raise UserError(f"regressor {path}: {error}") from None
    scorer.max_side = fitted.description.max_side
    lowest, highest = fitted.description.score_range
    parts = {"regressor": sha256_of(path.with_suffix(WEIGHTS_SUFFIX)), **fitted.description.encoders}
    scorer.about = {
        "model": f"regressor {path.stem}",
        "version": VERSION,
        "scale": f"opinions of the fit go from {lowest:.4g} to {highest:.4g}; higher is better",
        "fingerprint": ", ".join(f"{part} {short_identity(identity or 'unknown')}" for part, identity in parts.items()),
    }
    if regressor is None:
        scorer.about |= {"model": model_title(model), "licence": LICENCE}
    return scorer


load = load_scorer
"""The name in the package: ``re_iqa.load()``."""


@dataclass(frozen=True)
class ScorerEncoder:
    """One encoder of a scorer, its pooling, and whether its input is normalised (the content-aware encoder's is)."""

    network: nn.Module
    normalized: bool
    pooling: str = LAYER4_MEAN


class QualityScorer(nn.Module):
    """(N, 3, H, W) float in [0, 1] -> (N,) scores on the scale of the opinions, higher for better images.

    The complete computation of Re-IQA (section 3.3) in one module: image at half scale, encoders at both scales,
    standardisation, linear regressor, calibration. It has the scores of predict_quality.py to 1e-4 of the scale for
    8-bit images, and is differentiable with respect to the images, also as a loss. Weights are fixed: parameters need
    no gradient, and BatchNorms are folded into the convolutions, so ``train`` changes nothing.

    The features of ``model`` are those of ``encoders`` side by side, of each the full scale and then the half scale.
    ``about`` says what ``load_scorer`` knows of the scorer: model, version, scale, fingerprint and licence, in words.
    ``max_side``, also set by ``load_scorer``, is the longer side to which ``score`` reduces larger image files.
    Raises ValueError where the model has another number of features.
    """

    mean: Tensor
    scale: Tensor
    weights: Tensor
    intercept: Tensor

    def __init__(self, encoders: Sequence[ScorerEncoder], model: LinearModel, calibration: OpinionMapping = IDENTITY):
        super().__init__()
        self.about: dict[str, str] = {}
        self.max_side: int | None = None
        self.sizes = tuple(pooled_size(encoder.network, encoder.pooling) for encoder in encoders)
        self.normalized = tuple(encoder.normalized for encoder in encoders)
        n_features = 2 * sum(self.sizes)
        for name, values in (("mean", model.mean), ("scale", model.scale), ("weights", model.weights)):
            if np.shape(values) != (n_features,):
                raise ValueError(
                    f"the encoders have {n_features} features at two scales, the model's {name} "
                    f"has the shape {np.shape(values)}"
                )
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32))
        self.register_buffer("intercept", torch.tensor(model.intercept, dtype=torch.float32))
        self.calibration = calibration
        self.networks = nn.ModuleList(
            pooled_network(fold_batchnorm(encoder.network), encoder.pooling) for encoder in encoders
        )
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N,); ValueError for another shape, integers, NaN or values outside [0, 1]."""
        check_images(images)
        return self.calibration(self.linear_sum(self.features(images)))

    @torch.inference_mode()
    def score(self, path: str | os.PathLike) -> float:
        """The score of an image file, read and reduced as by predict_quality.py; UserError where it cannot be read."""
        from .images.reading import read_image, reduced  # imports Pillow, which tensors do not need

        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"score takes the path of an image file, not {type(path).__name__}; save the image first")
        pixels = torch.from_numpy(reduced(read_image(path), self.max_side)).permute(2, 0, 1)[None]
        return self(pixels.to(self.mean) / 255).item()

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, F): of each encoder the features at full and at half scale."""
        return torch.cat([self.networks[index](scaled) for scaled, index in self._feature_blocks(images)], dim=1)

    def linear_sum(self, features: Tensor) -> Tensor:
        """(N, F) features -> (N,) sums of the linear regressor, before the calibration."""
        return self.intercept + ((features - self.mean) / self.scale * self.weights).sum(dim=1)

    def local_quality(self, images: Tensor) -> Tensor:
        """The regressor's sum by place: (N, 3, H, W) -> (N, h, w) whose mean over (h, w) is ``linear_sum``.

        The linear regressor is applied to feature maps before they are pooled; h and w are those of the finest map,
        and coarser maps (and the half scale) are enlarged without changing their mean. ``networks.pooling`` says how
        the values of a map are divided among its places. The constant part of the sum is the same at every place.
        Values are not calibrated: the calibration applies to the sum only.
        """
        check_images(images)
        per_feature = self.weights / self.scale
        constant = self.intercept - (per_feature * self.mean).sum()
        of_blocks = per_feature.split([size for size in self.sizes for _ in range(2)])
        maps: list[Tensor] = []
        for (scaled, index), weights in zip(self._feature_blocks(images), of_blocks, strict=True):
            maps += self._weighted_maps(scaled, index, weights)
        height, width = max(part.shape[1] for part in maps), max(part.shape[2] for part in maps)
        return constant + torch.stack([enlarge_keeping_mean(part, height, width) for part in maps]).sum(dim=0)

    def _feature_blocks(self, images: Tensor) -> list[tuple[Tensor, int]]:
        """The blocks of the features in order: the encoder's input, and the encoder's index."""
        both = (images, half_size(images))
        return [
            (normalize(scaled) if normalized else scaled, index)
            for index, normalized in enumerate(self.normalized)
            for scaled in both
        ]

    def _weighted_maps(self, images: Tensor, index: int, weights: Tensor) -> list[Tensor]:
        """The parts of the sum that come from one encoder at one scale: one (N, h, w) map for each stage in use."""
        network = self.networks[index]
        if not isinstance(network, StagesMeanStd):
            return [torch.einsum("nchw,c->nhw", stage_maps(network, images)[-1], weights)]
        stages = stage_maps(network.encoder, images)
        of_stages = weights.split([2 * maps.shape[1] for maps in stages])
        return [network.local_sum(maps, *of.chunk(2)) for maps, of in zip(stages, of_stages, strict=True)]


def check_images(images: Tensor) -> None:
    """ValueError for anything but float (N, 3, H, W) in [0, 1]; traced programs and vmap have no values to check."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"a scorer takes float (N, 3, H, W) in [0, 1], not {images.dtype} {tuple(images.shape)}; images[None] adds "
            "N, permute(0, 3, 1, 2) puts the channels second, and 8-bit images are to be divided by 255"
        )
    captured = images.is_cuda and torch.cuda.is_current_stream_capturing()
    if captured or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    try:
        low, high = torch.stack(images.detach().aminmax()).tolist()
    except RuntimeError:  # vmap
        return
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        found = "contain NaN" if math.isnan(low) else f"have values from {low:.4g} to {high:.4g}"
        raise ValueError(f"the images {found}, not in [0, 1]: divide 8-bit values by 255, do not normalise, and clamp")


def enlarge_keeping_mean(maps: Tensor, height: int, width: int) -> Tensor:
    """(N, h, w) -> (N, height, width), bilinear, with the mean of each map unchanged."""
    if maps.shape[1:] == (height, width):
        return maps
    enlarged = F.interpolate(maps[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    return enlarged + (maps.mean(dim=(1, 2)) - enlarged.mean(dim=(1, 2)))[:, None, None]
