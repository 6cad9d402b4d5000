"""Names, limits and defaults that several packages share, defined once. Imports nothing slow: options need them."""

NEGATIVES = ("queue", "queue+batch")
"""The negatives of a query: keys of earlier steps (as released), or also the other keys of its own step."""

PATH_COLUMN = "Image_path"
"""The column of a training CSV that names the images."""

LOCAL_URL = "tcp://127.0.0.1:23456"
"""The default address at which the processes of a training meet: reachable on this machine only."""

AUTO = "auto"
"""The value of --resume that looks for this run's newest checkpoint."""

FIXED = "must be the same"
"""What a new value means when a training is resumed, for an option that shapes the content of a checkpoint."""

CHOICES = {
    "nested": "hyper-parameters chosen within each split: no test image has any influence",
    "shared": "one choice of hyper-parameters for all splits: test images influence the choice",
}
"""How hyper-parameters are chosen, in words; ``learning.regression.evaluate.protocol`` explains both."""

N_RESAMPLES = 1000
"""Resamples of a bootstrap interval."""

N_SPLITS, SHARES = 10, (70, 10, 20)
"""Random splits, and the shares of their training, validation and test images in percent."""

INTERVAL_LEVELS = tuple(round(level / 100, 2) for level in range(50, 100))
"""Levels of prediction intervals that a regressor records."""
