"""One function per verb: what the jobs call."""
