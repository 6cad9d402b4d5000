"""Encoder, projection head, and their weights on disk. Knows nothing of data sets or learning."""

from networks.checkpoint_formats import load_encoder
from networks.encoder import ARCHITECTURES, ContrastiveNetwork, build_encoder, feature_size

__all__ = ["ARCHITECTURES", "ContrastiveNetwork", "build_encoder", "feature_size", "load_encoder"]
