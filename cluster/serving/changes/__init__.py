"""The change log on Ray: the actor that writes it, and its client in each replica."""
