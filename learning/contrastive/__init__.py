"""Training an encoder by momentum contrast. Read by those who train or change the training."""
