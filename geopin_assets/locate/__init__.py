"""Finding where a photo was taken, with the published index."""
