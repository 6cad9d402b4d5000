"""The HTML pages: the report on a regressor, and the page of scores."""
