"""The digital twin: a seeded world that obeys physics and can misbehave."""
