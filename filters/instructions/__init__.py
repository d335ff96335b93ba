"""Constraints of instructions, each a rule that text keeps or breaks."""
