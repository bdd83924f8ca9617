"""Release approval: who demands it, whose keys count, and the routes that take what people signed."""
