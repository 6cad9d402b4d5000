"""Scores images by the embedded model, or by encoders and a regressor. ``python predict_quality.py --help``."""

from common.process import run_script
from options.images import parse_prediction_options


def main() -> int:
    options = parse_prediction_options()
    # Imported below the options: --help needs no torch, which takes seconds.
    from learning.regression.model.predict import predict_quality

    return predict_quality(options)


if __name__ == "__main__":
    run_script(main, after_interrupt="interrupted; --features FOLDER keeps the features computed so far")
