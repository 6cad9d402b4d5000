"""Encoder, projection head, and their weights on disk. Knows nothing of data sets or learning."""

from networks.encoder import ARCHITECTURES, ContrastiveNetwork, build_encoder, feature_size
from networks.weights import load_encoder

__all__ = ["ARCHITECTURES", "ContrastiveNetwork", "build_encoder", "feature_size", "load_encoder"]
