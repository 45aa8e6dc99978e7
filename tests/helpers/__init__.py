"""What several test modules use: small worlds, contracts, references, stand-ins and processes."""
