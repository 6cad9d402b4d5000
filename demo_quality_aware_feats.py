"""Quality-aware features of images. ``python demo_quality_aware_feats.py --help``."""

from learning.extraction.feature_script import run
from options.features import parse_feature_options

if __name__ == "__main__":
    run(parse_feature_options("quality_aware"))
