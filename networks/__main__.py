"""``python -m re_iqa photo.jpg ...``: prints the score of each image, and what the scores mean."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .errors import UserError
from .names import EMBEDDED_MODELS, VERSION


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 where an image cannot be read."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Prints quality scores of images.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, such as photo.jpg")
    parser.add_argument("--model", choices=EMBEDDED_MODELS, default=EMBEDDED_MODELS[0], help="default: %(default)s")
    parser.add_argument("--version", action="version", version=VERSION)
    options = parser.parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # file names may be any bytes

    from .scorer import load_scorer  # imports torch

    scorer, status = load_scorer(model=options.model), 0
    for path in options.images:
        try:
            print(f"{scorer.score(path):8.4f}  {path}", flush=True)
        except UserError as error:  # noqa: PERF203  (nothing beside a score)
            print(error, file=sys.stderr)
            status = 1
    print(f"{scorer.about['model']}: {scorer.about['scale']}")
    return status


if __name__ == "__main__":
    sys.exit(main())
