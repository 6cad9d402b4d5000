"""Computes quality-aware features of images. ``python demo_quality_aware_feats.py --help``."""

from common.process import run_script
from networks.names import QUALITY_AWARE
from options.images import parse_feature_options


def compute(kind: str) -> None:
    def work() -> int:
        options = parse_feature_options(kind)
        # Imported below the options: --help needs no torch, which takes seconds.
        from learning.extraction.extract import extract

        return extract(options)

    run_script(work, after_interrupt="interrupted; the same command resumes from here")


def main() -> None:
    compute(QUALITY_AWARE)


if __name__ == "__main__":
    main()
