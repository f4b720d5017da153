"""Paired takes: nothing lost, nothing leaked."""
