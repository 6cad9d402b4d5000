"""Training an encoder by momentum contrast. Read by those who train or change the training."""

from learning.contrastive.lars import LARS
from learning.contrastive.moco import KeyQueue, MoCo

__all__ = ["LARS", "KeyQueue", "MoCo"]
