"""Computes content-aware features of images. ``python demo_content_aware_feats.py --help``."""

from common.process import run_script


def compute() -> int:
    # Imported when they are needed: Ctrl-C is answered from here on, and --help needs no torch, which takes seconds.
    from common.names import CONTENT_AWARE
    from options.features import parse_feature_options

    options = parse_feature_options(CONTENT_AWARE)
    from learning.extraction.extract import extract

    return extract(options)


def main() -> None:
    run_script(compute, after_interrupt="interrupted; the same command resumes from here")


if __name__ == "__main__":
    main()
