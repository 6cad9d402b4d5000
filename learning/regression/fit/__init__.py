"""From features to opinion scores: splits, Ridge and ElasticNet, and the search over their hyper-parameters."""
