"""Models: from interactions and content to one vector per user."""
