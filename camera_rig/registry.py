"""Driver names: from the word in the config file to the class that drives.

A driver is named in one of three ways: a name from the table below, a name that an
installed package offers in the entry-point group ``camera_rig.drivers`` (as
``kind.name``, for example ``mirror.acme``), or ``package.module:Class``.
"""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points
from typing import Any

from camera_rig.contracts import Camera, Device, DeviceKind, Light, Mirror, Stage
from camera_rig.errors import ConfigError, ConnectError

__all__ = ["ENTRY_POINT_GROUP", "driver_class", "known_drivers", "world_class"]

ENTRY_POINT_GROUP = "camera_rig.drivers"

_BUILT_IN: dict[DeviceKind, dict[str, str]] = {
    DeviceKind.CAMERA: {
        "twin": "camera_rig.twin.devices:TwinCamera",
        "canon": "camera_rig.drivers.canon:CanonCamera",
        "uvc": "camera_rig.drivers.uvc:UvcCamera",
        "replay": "camera_rig.drivers.replay:ReplayCamera",
    },
    DeviceKind.MIRROR: {
        "twin": "camera_rig.twin.devices:TwinMirror",
        "thorlabs-dm": "camera_rig.drivers.thorlabs_dm:ThorlabsMirror",
        "remote": "camera_rig.drivers.remote:RemoteMirror",
    },
    DeviceKind.STAGE: {
        "twin": "camera_rig.twin.devices:TwinStage",
        "apt": "camera_rig.drivers.apt_stage:AptStage",
        "remote": "camera_rig.drivers.remote:RemoteStage",
    },
    DeviceKind.LIGHT: {
        "twin": "camera_rig.twin.devices:TwinLight",
        "serial": "camera_rig.drivers.serial_light:SerialLight",
        "remote": "camera_rig.drivers.remote:RemoteLight",
    },
}
_WORLD = "camera_rig.twin.world:World"
_CONTRACT: dict[DeviceKind, Any] = {
    DeviceKind.CAMERA: Camera,
    DeviceKind.MIRROR: Mirror,
    DeviceKind.STAGE: Stage,
    DeviceKind.LIGHT: Light,
}


def known_drivers(kind: DeviceKind) -> list[str]:
    """Return the names that ``driver:`` may have for this kind of device."""
    return sorted({*_BUILT_IN[kind], *_offered(kind)})


def driver_class(kind: DeviceKind, name: str) -> type[Device]:
    """Return the class behind a driver name.

    Raises:
        ConfigError: The name is unknown, or names something that is no driver of
            this kind.
        ConnectError: The driver needs a package that is not installed.
    """
    target = _BUILT_IN[kind].get(name) or _offered(kind).get(name)
    if target is None:
        if ":" not in name:
            known = known_drivers(kind)
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"unknown {kind} driver {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else ""),
                hint=f"use one of {', '.join(known)}, or package.module:Class",
            )
        target = name
    found = _load(target, name)
    if not (isinstance(found, type) and issubclass(found, _CONTRACT[kind])):
        raise ConfigError(
            f"driver {name!r} is not a {kind}: {found!r}",
            hint=f"a {kind} driver subclasses camera_rig.contracts.{_CONTRACT[kind].__name__}",
        )
    return found


def world_class() -> Any:
    """Return the digital twin's world class (by name: the rig never imports the twin)."""
    return _load(_WORLD, "twin")


def _offered(kind: DeviceKind) -> dict[str, str]:
    prefix = f"{kind}."
    return {
        point.name.removeprefix(prefix): point.value
        for point in entry_points(group=ENTRY_POINT_GROUP)
        if point.name.startswith(prefix)
    }


def _load(target: str, name: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise ConfigError(
                f"driver {name!r}: there is no module {error.name!r}",
                hint="check the spelling of package.module:Class",
            ) from error
        raise ConnectError(
            f"driver {name!r} needs the Python package {error.name!r}",
            hint="install the extra that brings it, see the README's table of extras",
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ConfigError(
            f"driver {name!r}: module {module_name!r} has no {attribute!r}",
            hint="check the spelling of package.module:Class",
        ) from error
