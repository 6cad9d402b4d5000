"""From an image to a training sample: lists of training images, shards, crops, the two data sets."""
