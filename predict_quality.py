"""Images -> quality scores, by both encoders and a regressor. See the README."""

import sys

from common.errors import UserError
from common.process import exit_at_once
from learning.regression.predict import predict_quality
from options.prediction import parse_prediction_options


def main() -> None:
    options = parse_prediction_options()
    try:
        n_failed = predict_quality(options)
    except UserError as error:
        sys.exit(f"predict_quality.py: {error.sentence}")
    except KeyboardInterrupt:
        kept = f"; {options.features} keeps what was computed" if options.features else ""
        print(f"predict_quality.py: interrupted{kept}", file=sys.stderr)
        exit_at_once(130)
    sys.exit(1 if n_failed else 0)


if __name__ == "__main__":
    main()
