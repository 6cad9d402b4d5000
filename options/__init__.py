"""Command-line options: one module per script, shared pieces in ``shared``. Parse, check, nothing else."""
