"""One symbolic core: notation, a grammar, exact values, units, the form of an answer, and when two are equal."""
