"""The hand-off: item and user vectors with their payload, written to where others want them."""
