"""From features to opinion scores: splits, search, evaluation, report and prediction."""
