"""What a text concludes: where its answer stands, and whether the text holds on to it."""
