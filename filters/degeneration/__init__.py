"""Repetition, loops and other ways in which a text degenerates."""
