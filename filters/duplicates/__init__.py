"""Near-duplicates: MinHash signatures, the join of their bands, the index kept for later."""
