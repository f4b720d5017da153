"""Frames between two processes: one memory mapping, a ring for live view, room for a still.

The mapping is an anonymous file whose descriptor the worker inherits, so nothing is
left behind when either side is killed. No lock is shared (a killed process would
keep it): each slot carries the number of its frame before and after the bytes, and
the reader checks both.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile
from typing import Final

from camera_rig.errors import StorageError

__all__ = ["SharedFrames"]

_SLOTS: Final = 16
_SLOT_BYTES: Final = 2 << 20
_STILL_BYTES: Final = 96 << 20
_STAMP: Final = struct.Struct("<q")
_NOTHING: Final = -1


class SharedFrames:
    """The mapping, seen from either side.

    Pages are only used once written, so the size is an upper bound, not a cost.

    Args:
        descriptor: File descriptor inherited from the owner; None makes a new mapping.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        size = _SLOTS * _SLOT_BYTES + _STILL_BYTES
        self.descriptor = _anonymous_file(size) if descriptor is None else descriptor
        self._map = mmap.mmap(self.descriptor, size)

    def write_live(self, sequence: int, data: memoryview) -> None:
        """Copy one encoded live frame into its slot (the only copy on this side)."""
        if len(data) + 2 * _STAMP.size > _SLOT_BYTES:
            raise _too_large(len(data), _SLOT_BYTES)
        at = (sequence % _SLOTS) * _SLOT_BYTES
        _STAMP.pack_into(self._map, at, _NOTHING)
        _STAMP.pack_into(self._map, at + _STAMP.size, _NOTHING)
        body = at + 2 * _STAMP.size
        self._map[body : body + len(data)] = data
        _STAMP.pack_into(self._map, at + _STAMP.size, sequence)
        _STAMP.pack_into(self._map, at, sequence)

    def read_live(self, sequence: int, length: int) -> bytes | None:
        """Return the bytes of a live frame, or None if it was overwritten meanwhile."""
        at = (sequence % _SLOTS) * _SLOT_BYTES
        body = at + 2 * _STAMP.size
        data = self._map[body : body + length]
        stamps = (self._map[at : at + 8], self._map[at + 8 : at + 16])
        wanted = _STAMP.pack(sequence)
        return data if stamps == (wanted, wanted) else None

    def write_still(self, data: bytes | memoryview, offset: int) -> int:
        """Copy a still's bytes at ``offset`` of the still area; return their number."""
        view = memoryview(data)
        if offset + len(view) > _STILL_BYTES:
            raise _too_large(offset + len(view), _STILL_BYTES)
        at = _SLOTS * _SLOT_BYTES + offset
        self._map[at : at + len(view)] = view
        return len(view)

    def read_still(self, offset: int, length: int) -> bytes:
        """Return bytes of the still area."""
        at = _SLOTS * _SLOT_BYTES + offset
        return self._map[at : at + length]

    def close(self) -> None:
        """Unmap and close."""
        self._map.close()
        os.close(self.descriptor)


def _anonymous_file(size: int) -> int:
    if sys.platform == "linux":
        descriptor = os.memfd_create("camera-rig-frames")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _too_large(length: int, room: int) -> StorageError:
    return StorageError(
        f"a picture of {length} bytes does not fit into {room} bytes of shared memory",
        hint="choose a smaller image format on the camera",
    )
