"""The embedded photographs with opinion scores: 120 of CLIVE (Ghadiyaram and Bovik, IEEE TIP 2016), in ``sample_data``.

``python -m datasets.sample_opinions TABLE.csv FOLDER`` made them from the photographs and scores of the database. The
photographs are evenly spaced in the ranking of their scores, so that the whole range of quality is there.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from common import log
from common.atomic_files import whole_file
from common.process import run_script
from datasets.images import read_image
from datasets.opinions.tables import write_csv

N_PHOTOGRAPHS = 120
WEBP_QUALITY = 85
"""Keeps 120 photographs of 500x500 within 4 MB; the difference to the originals is hard to see."""


def write_sample_opinions(table: Path, folder: Path, n_photographs: int = N_PHOTOGRAPHS) -> None:
    """Writes ``images/*.webp`` and ``mos.csv`` (image, mos) into ``folder``.

    ``table`` has the columns image (paths relative to it) and mos. Raises UserError for a table or a photograph that
    cannot be read.
    """
    from datasets.opinions.scores import read_scores  # imports pandas, which --help does not need

    scores = read_scores(table)
    ranking = np.argsort(scores.mos, kind="stable")
    chosen = ranking[np.linspace(0, len(ranking) - 1, n_photographs).round().astype(int)]
    rows = []
    for index in sorted(chosen):
        name = f"images/{Path(scores.images[index]).stem}.webp"
        photograph = Image.fromarray(read_image(table.parent / scores.images[index]))
        with whole_file(folder / name) as temporary:
            photograph.save(temporary, "WEBP", quality=WEBP_QUALITY, method=6)
        rows.append((name, f"{scores.mos[index]:.2f}"))
    write_csv(folder / "mos.csv", ("image", "mos"), rows)
    log.info(f"{len(rows)} photographs with opinion scores: {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m datasets.sample_opinions", description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="CSV with image and mos, beside the photographs")
    parser.add_argument("folder", type=Path, help="where to write the photographs and mos.csv")
    options = parser.parse_args()
    run_script(lambda: write_sample_opinions(options.table, options.folder))


if __name__ == "__main__":
    main()
