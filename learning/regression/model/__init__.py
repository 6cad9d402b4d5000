"""The fitted regressor: its description, its files, scores and maps of images."""
