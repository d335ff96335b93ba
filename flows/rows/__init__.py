"""Anyone's rows, streamed through worker processes for the filter commands."""
