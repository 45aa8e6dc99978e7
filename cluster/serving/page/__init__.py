"""The page: static files, their routes, and the cache of the item map."""
