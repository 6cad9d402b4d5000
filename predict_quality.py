"""Scores images by the embedded model, or by encoders and a regressor. ``python predict_quality.py --help``."""

from common.process import run_script
from options.images import PredictionOptions, parse_prediction_options


def score(options: PredictionOptions) -> int:
    # Imported below the options: --help needs no torch, which takes seconds.
    from learning.regression.model.predict import predict_quality

    return predict_quality(options)


def main() -> None:
    options = parse_prediction_options()
    folder = f"{options.features} keeps" if options.features else "--features FOLDER would keep"
    run_script(lambda: score(options), after_interrupt=f"interrupted; {folder} the features computed so far")


if __name__ == "__main__":
    main()
