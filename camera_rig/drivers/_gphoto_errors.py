"""libgphoto2's numbers, turned into errors that say what to do."""

from __future__ import annotations

from camera_rig.errors import (
    ConnectError,
    RigError,
    RigTimeoutError,
    StateError,
    UnsupportedError,
)

__all__ = ["BUSY", "is_busy", "is_link_lost", "rig_error"]

BUSY = -110
_GENERAL = -1
_LOST = {-7, -10, -34, -35, -50, -52}
_CLAIMED = {-53, -60}
_REMEDY_HELD = (
    "another program holds it: close it, and stop the desktop's volume monitor "
    "(`systemctl --user stop gvfs-gphoto2-volume-monitor`, `pkill gvfsd-gphoto2`)"
)


def is_busy(code: int) -> bool:
    """Whether the body only asks to be left alone for a moment."""
    return code == BUSY


def is_link_lost(code: int) -> bool:
    """Whether the code means that the body is no longer there."""
    return code in _LOST


def rig_error(code: int, text: str, doing: str) -> RigError:
    """Return the error for a libgphoto2 code met while ``doing`` something."""
    what = f"{doing}: {text} [{code}]"
    if is_busy(code):
        return RigTimeoutError(
            f"{doing}: the camera stays busy (I/O in progress) [{code}]",
            hint="wait for the card light to go out and try again; if it stays, switch the "
            "camera off and on (files left in its memory block the next picture)",
        )
    if code in _CLAIMED:
        return ConnectError(
            f"{doing}: the camera's port cannot be claimed [{code}]", hint=_REMEDY_HELD
        )
    if is_link_lost(code):
        return ConnectError(
            what, hint="check cable, power and auto power off; the camera may be asleep"
        )
    if code == -105:
        return ConnectError(
            f"{doing}: libgphoto2 does not know this model [{code}]",
            hint="update the package gphoto2",
        )
    if code == _GENERAL:
        return StateError(
            what,
            hint="set lens and camera to manual focus, take the lens cap off, leave menus; "
            "if live view does not come either, switch the camera off and on",
        )
    if code in (-2, -6):
        return UnsupportedError(
            what, hint="this body has no such setting or function, see `rig camera settings`"
        )
    return ConnectError(what, hint="switch the camera off and on, then open the rig again")
