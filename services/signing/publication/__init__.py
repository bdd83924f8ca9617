"""From the changes that wait in an index to the signed commit that shows them, and its way into the store."""
