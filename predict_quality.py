"""Scores images by two encoders and a regressor. ``python predict_quality.py --help``."""

from common.process import run_script


def main() -> None:
    kept = ""

    def score() -> int:
        nonlocal kept
        # Imported when it is needed: Ctrl-C is answered from here on, and --help needs no torch, which takes seconds.
        from options.prediction import parse_prediction_options

        options = parse_prediction_options()
        if options.features:
            kept = f"; {options.features} keeps the features computed so far"
        from learning.regression.model.predict import predict_quality

        return predict_quality(options)

    run_script(score, after_interrupt=lambda: f"interrupted{kept}")


if __name__ == "__main__":
    main()
