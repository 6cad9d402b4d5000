"""Two things that each of the other packages needs and none should own: errors for a person, and whole files."""

import os

# Before torch is imported: what its C++ part warns of in pages of stack, Python gets as an exception too.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
