"""Listeners of the training loop, one idea a file."""
