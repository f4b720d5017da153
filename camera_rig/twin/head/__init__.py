"""Synthetic talking heads: who (identity), what (motion), and the picture (renderer)."""
