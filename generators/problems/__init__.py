"""What is sampled: problems from files, the hub and procedural tasks, as one kind of row in shards."""
