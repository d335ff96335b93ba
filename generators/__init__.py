"""What is generated: problems from their sources, samples from their engines."""
