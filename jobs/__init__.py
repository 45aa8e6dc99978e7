"""Entry modules: parse, call one stage, exit code."""
