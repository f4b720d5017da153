"""Evidence: how private, how useful, how good, and what an attacker gets."""
