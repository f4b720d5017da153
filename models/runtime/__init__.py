"""Trained systems as files and as engines."""
