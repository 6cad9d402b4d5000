"""Processes of a training or an extraction: how they start, find each other, stop and fail."""
