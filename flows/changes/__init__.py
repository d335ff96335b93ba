"""What differs: between a recipe and the last run, and between two versions."""
