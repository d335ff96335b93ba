"""Overlap of training text with benchmarks."""
