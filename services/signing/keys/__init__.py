"""Private keys: which there are, which sign at a moment, and whether this process can use them."""
