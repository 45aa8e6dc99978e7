"""Content to vectors: the encoder interface, the text encoder with fixed call shapes, plan and worker of an embedding run."""
