"""Training by momentum contrast, and regression of opinion scores on features."""
