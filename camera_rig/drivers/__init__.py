"""Drivers: one file per device family, each filling the hooks of one contract."""
