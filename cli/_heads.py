"""``heads:N``: how a command names rendered heads."""

from __future__ import annotations

__all__ = ["heads_named"]

MOST_HEADS = 10_000


def heads_named(named: str) -> int | None:
    """Return the N of ``heads:N``, or None for anything else.

    Raises:
        ConfigError: What follows ``heads:`` is no number from 1 to 10,000.
    """
    from camera_rig.errors import ConfigError

    if not named.startswith("heads:"):
        return None
    count = named.removeprefix("heads:")
    if not count.isdigit() or not 1 <= int(count) <= MOST_HEADS:
        raise ConfigError(
            f"{named!r} names no number of heads",
            hint=f"write heads:40; there are {MOST_HEADS} for each use",
        )
    return int(count)
