"""The images that a person names: files, folders and lists; and half the size of an image."""
