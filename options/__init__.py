"""Command-line options: one module per script; ``builder`` turns a dataclass into a command line and back."""
