"""One script per claim about speed or memory; each prints a table. ``make bench`` runs those that a CPU can."""
