"""The D-, L- and P-test: ``python -m learning.regression.dlp_tests --input FOLDER [--regressor R.skops]``

Distorts undistorted photographs by all kinds at all levels, scores everything, and prints the tests of Ma et al. (IEEE
TIP 26(2), 2017; ``learning.regression.evaluate.dlp``) over all kinds and for each kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import log
from common.atomic_files import check_not_read, check_target
from common.errors import UserError
from common.process import run_script
from datasets.images.lists import list_images
from datasets.opinions.tables import write_csv
from options.dlp_tests import DlpOptions, parse_dlp_options

if TYPE_CHECKING:
    from learning.regression.evaluate.dlp import DlpResult


def run_tests(options: DlpOptions) -> int:
    """Scores, tests, prints and writes; the exit status is 1 if a photograph or a folder could not be read."""
    # Imported after the options are parsed: torch takes seconds, and --help needs none of it.
    from learning.regression.evaluate.dlp import dlp_results
    from learning.regression.evaluate.dlp_scores import ScoresFile, score_photographs, together
    from learning.regression.model.pixel_scorer import load_pixel_scorer
    from learning.regression.model.predict import choose_model

    for option, path in (("--output", options.output), ("--scores", options.scores)):
        if path is not None:
            check_target(path)
            check_not_read(option, path, options.input)
    listing = list_images(options.input)
    kept = ScoresFile(options.scores)
    scorer = load_pixel_scorer(choose_model(options.regressor, options.checkpoints), options.compute)
    done = score_photographs(listing.images, scorer, scorer.identity, kept, options.max_side, options.seed)
    for sentence in (*listing.unreadable, *done.failed):
        log.error(sentence)
    if not done.scores:
        raise UserError(f"no photograph could be read in {' '.join(options.input)}")
    if done.n_reduced:
        log.info(f"photographs reduced to a long side of {options.max_side} pixels: {done.n_reduced:,d}")
    results = dlp_results(together(done.scores))
    print_results(results, len(done.scores))
    if options.output is not None:
        write_results(options.output, results)
    return 1 if done.failed or listing.unreadable else 0


def print_results(results: Sequence[DlpResult], n_photographs: int) -> None:
    """The table, its first row over all kinds."""
    log.info(f"\n{n_photographs:,d} photographs, {results[0].n_distorted:,d} distorted versions")
    log.info("\n     D       L       P   kind")
    for one in results:
        values = ("-" if value is None else f"{value:.4f}" for value in (one.d, one.l, one.p))
        log.info(" ".join(f"{value:>7}" for value in values) + f"   {one.label}")
    log.info(
        "\nD: share told apart from the photographs by the best threshold (chance: 0.5). L: rank correlation with the "
        "levels. P: pairs in the right order."
    )
    log.info("A dash: the levels of this kind have no order of quality.")


def write_results(path: Path, results: Sequence[DlpResult]) -> None:
    """A row for all kinds, then one for each: kind, d, l, p, and the numbers of images, lists and pairs behind them."""
    rows = (
        (
            one.label,
            *("" if value is None else f"{value:.6f}" for value in (one.d, one.l, one.p)),
            str(one.n_distorted),
            str(one.n_lists),
            str(one.n_pairs),
        )
        for one in results
    )
    write_csv(path, ("kind", "d", "l", "p", "n_distorted", "n_lists", "n_pairs"), rows)


def after_interrupt(options: DlpOptions) -> str:
    """The sentence after Ctrl-C."""
    if options.scores is None or not options.scores.exists():
        return "interrupted; no scores were kept"
    return f"interrupted; {options.scores} keeps the scores computed so far"


def main() -> None:
    options = parse_dlp_options()
    log.set_script("learning.regression.dlp_tests")
    run_script(lambda: run_tests(options), after_interrupt=lambda: after_interrupt(options))


if __name__ == "__main__":
    main()
