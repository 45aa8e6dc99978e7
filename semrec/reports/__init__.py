"""What is drawn of a release: the item map."""
