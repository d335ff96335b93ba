"""What is kept: schemas, the shard store and its manifest, published versions."""
