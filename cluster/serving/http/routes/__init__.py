"""Endpoints of the HTTP API, each one function: the smallest is `get_item` in `items`."""
