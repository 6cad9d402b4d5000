"""Everything between a file on disk and a tensor. Knows nothing of networks or learning."""
