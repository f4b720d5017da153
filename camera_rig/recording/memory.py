"""Sharp frames pass through memory in the clear: keep that memory off the disk."""

from __future__ import annotations

from pathlib import Path

__all__ = ["forbid_core_dumps", "swap_warnings"]


def forbid_core_dumps() -> None:
    """Make sure a crash of this process writes no memory image."""
    try:
        import resource
    except ImportError:  # Windows writes none unless it was told to
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def swap_warnings(swaps: Path = Path("/proc/swaps")) -> list[str]:
    """Return a sentence for each swap area that memory could leak to."""
    if not swaps.exists():
        return []
    areas = [line.split()[0] for line in swaps.read_text().splitlines()[1:] if line.strip()]
    return [
        f"swap on {area}: sharp frames in memory could reach it; run `swapoff {area}` or encrypt it"
        for area in areas
        if not area.startswith(("/dev/zram", "/dev/dm-"))
    ]
