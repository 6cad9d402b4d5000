"""Computes content-aware features of images. ``python demo_content_aware_feats.py --help``."""

from common.names import CONTENT_AWARE
from options.features import parse_feature_options

if __name__ == "__main__":
    options = parse_feature_options(CONTENT_AWARE)
    # Imported after the options are parsed: torch takes seconds, and --help needs none of it.
    from learning.extraction.feature_script import run

    run(options)
