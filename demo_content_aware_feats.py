"""Computes content-aware features of images. ``python demo_content_aware_feats.py --help``."""

from common.names import CONTENT_AWARE
from common.process import run_script
from options.features import FeatureOptions, parse_feature_options


def compute(options: FeatureOptions) -> int:
    # Imported after the options are parsed: torch takes seconds, and --help needs none of it.
    from learning.extraction.feature_script import compute_features

    return compute_features(options)


def main() -> None:
    options = parse_feature_options(CONTENT_AWARE)
    run_script(lambda: compute(options), after_interrupt="interrupted; the same command resumes from here")


if __name__ == "__main__":
    main()
