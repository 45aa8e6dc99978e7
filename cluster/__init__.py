"""Where it is computed: the only package that imports ray."""
