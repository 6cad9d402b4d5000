"""Features of any number of images, into files."""
