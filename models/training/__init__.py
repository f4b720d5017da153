"""Training: one engine, and one task per stage."""
