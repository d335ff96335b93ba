"""Exact checks of a trace's intermediate claims: read by an own grammar, never evaluated as code."""
