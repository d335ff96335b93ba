"""Near-duplicates: MinHash signatures, the join of their bands, and which row of a cluster is kept."""
