"""What a cloud account lacks for the first apply, found by reading alone."""
