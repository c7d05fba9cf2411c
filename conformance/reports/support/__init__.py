"""What several reports share: text made harmless, plain JSON, what is told of one case, files written whole."""
