"""``heads:N``: how a command names rendered heads."""

from __future__ import annotations

__all__ = ["heads_named"]


def heads_named(named: str) -> int | None:
    """Return the N of ``heads:N``, or None for anything else.

    Raises:
        ConfigError: What follows ``heads:`` is no number from 1.
    """
    from camera_rig.errors import ConfigError

    if not named.startswith("heads:"):
        return None
    count = named.removeprefix("heads:")
    if not count.isdigit() or int(count) < 1:
        raise ConfigError(f"{named!r} names no number of heads", hint="write heads:40")
    return int(count)
