"""Two things that each of the other packages needs and none should own: errors for a person, and whole files."""
