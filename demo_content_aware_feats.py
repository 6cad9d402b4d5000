"""Computes content-aware features of images. ``python demo_content_aware_feats.py --help``."""

from common.names import CONTENT_AWARE
from common.process import run_script
from options.features import parse_feature_options


def main() -> None:
    options = parse_feature_options(CONTENT_AWARE)

    def compute() -> None:
        # Imported after the options are parsed: torch takes seconds, and --help needs none of it.
        from learning.extraction.feature_script import run

        run(options)

    run_script(compute)  # answers Ctrl-C during the import, too


if __name__ == "__main__":
    main()
