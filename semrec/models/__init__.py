"""Models: from interactions and content to vectors of items and users, whose inner product is the score."""
