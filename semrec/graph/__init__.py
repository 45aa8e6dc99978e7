"""What is known of items and other things: relations as a graph, paths in it, and the reasons that they give."""
