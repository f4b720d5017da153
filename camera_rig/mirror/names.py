"""What people call the modes, and their number in every order at once."""

from __future__ import annotations

from camera_rig.optics import zernike
from camera_rig.optics.zernike import Mode, Order

_NAMES: dict[Mode, str] = {
    (0, 0): "piston",
    (1, -1): "tip (about x)",
    (1, 1): "tilt (about y)",
    (2, -2): "oblique astigmatism",
    (2, 0): "defocus",
    (2, 2): "vertical astigmatism",
    (3, -3): "vertical trefoil",
    (3, -1): "vertical coma",
    (3, 1): "horizontal coma",
    (3, 3): "oblique trefoil",
    (4, -4): "oblique quadrafoil",
    (4, -2): "oblique secondary astigmatism",
    (4, 0): "primary spherical",
    (4, 2): "vertical secondary astigmatism",
    (4, 4): "vertical quadrafoil",
}


def mode_name(mode: Mode) -> str:
    """Return the usual name of a mode, or its (n, m) where there is none."""
    return _NAMES.get(mode, f"n={mode[0]}, m={mode[1]:+d}")


def mode_numbers(mode: Mode) -> dict[str, int]:
    """Return the single index of a mode in all four orders (dimensionless)."""
    return {order.value: zernike.from_mode(order, mode) for order in Order}


def mode_label(mode: Mode, order: Order = Order.NOLL) -> str:
    """Return name and number for messages, for example ``defocus (noll 4)``."""
    return f"{mode_name(mode)} ({order.value} {zernike.from_mode(order, mode)})"
