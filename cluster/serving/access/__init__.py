"""Access control: keys, scopes, rate limits, addresses."""
