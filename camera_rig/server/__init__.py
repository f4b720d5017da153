"""Serve one device to another machine: a mirror's library exists on Windows only.

:class:`DeviceHost` holds the device in its own thread, with a lease for one writer;
:func:`create_app` is its HTTP face; :func:`serve` runs it until it is stopped.
"""

from camera_rig.server.app import create_app
from camera_rig.server.host import DeviceHost
from camera_rig.server.run import ServeOptions, listen, serve, stopped_by_any_signal

__all__ = [
    "DeviceHost",
    "ServeOptions",
    "create_app",
    "listen",
    "serve",
    "stopped_by_any_signal",
]
