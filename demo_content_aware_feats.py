"""Computes content-aware features of images. ``python demo_content_aware_feats.py --help``."""

from demo_quality_aware_feats import compute
from networks.names import CONTENT_AWARE


def main() -> None:
    compute(CONTENT_AWARE)


if __name__ == "__main__":
    main()
