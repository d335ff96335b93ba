"""Answers of mathematics: found, parsed by our own grammar, compared by value."""
