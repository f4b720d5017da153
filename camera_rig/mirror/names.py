"""What people call the modes, and their number in every order at once."""

from __future__ import annotations

from camera_rig.optics import zernike
from camera_rig.optics.zernike import Mode, Order

# Cosine terms are called 0°, sine terms by the angle that turns them into the cosine.
_NAMES: dict[Mode, str] = {
    (0, 0): "piston",
    (1, -1): "tip y",
    (1, 1): "tilt x",
    (2, -2): "astigmatism 45°",
    (2, 0): "defocus",
    (2, 2): "astigmatism 0°",
    (3, -3): "trefoil 30°",
    (3, -1): "coma y",
    (3, 1): "coma x",
    (3, 3): "trefoil 0°",
    (4, -4): "quadrafoil 22.5°",
    (4, -2): "2nd astig. 45°",
    (4, 0): "spherical",
    (4, 2): "2nd astig. 0°",
    (4, 4): "quadrafoil 0°",
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
