"""Training an encoder by momentum contrast: what a researcher who trains reads."""
