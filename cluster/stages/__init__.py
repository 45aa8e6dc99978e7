"""The stages that jobs call: one function per verb."""
