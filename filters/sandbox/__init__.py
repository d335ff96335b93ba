"""The jail for model-written Python."""
