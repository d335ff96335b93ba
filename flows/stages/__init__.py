"""The stages of a run: what each does, and what its key depends on."""
