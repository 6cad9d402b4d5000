"""Tables of opinion scores, the databases that publish them, and weak labels."""
