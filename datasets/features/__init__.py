"""Feature files: names, identity, reading and writing."""
