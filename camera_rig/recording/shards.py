"""Tar shards that only grow: any tar tool reads them, and a torn end costs one group."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from camera_rig.recording._files import open_private, storage_error

__all__ = ["BLOCK", "ShardWriter", "header", "member_span", "shard_name"]

BLOCK = 512
_END = bytes(2 * BLOCK)


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:06d}.tar"


def header(name: str, size: int) -> bytes:
    """Return the tar header of a member, mode 0600; time and owner tell nothing."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.USTAR_FORMAT)


def member_span(size: int) -> int:
    """Return the bytes that a member of ``size`` bytes takes in the tar."""
    return BLOCK + size + (-size) % BLOCK


class ShardWriter:
    """Appends groups of members; starts a new shard when one is full.

    Args:
        folder: Folder of the take.
        limit_bytes: Size from which on the next group goes to a new shard.

    Not offered: rewriting. What is in a shard stays there until the take is deleted.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        self.number = 0
        self.offset = 0
        self._fd = self._open()

    def place(self, size: int) -> tuple[int, int]:
        """Return shard and offset of the next group of ``size`` bytes, turning over if full."""
        if self.offset and self.offset + size > self._limit:
            self._finish()
            self.number, self.offset = self.number + 1, 0
            self._fd = self._open()
        return self.number, self.offset

    def append(self, members: Sequence[tuple[str, bytes]]) -> None:
        """Write the members of one group in one go.

        Raises:
            StorageError: The disk refuses; the shard is as it was before.
        """
        parts: list[bytes] = []
        for name, data in members:
            parts += [header(name, len(data)), data, bytes(-len(data) % BLOCK)]
        total = sum(map(len, parts))
        try:
            _write_all(self._fd, parts)
        except OSError as error:
            os.ftruncate(self._fd, self.offset)
            os.lseek(self._fd, self.offset, os.SEEK_SET)
            raise storage_error(error, self._folder / shard_name(self.number)) from error
        self.offset += total

    def sync(self) -> None:
        """Force everything to the disk itself."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """End the shard as tar wants it; a full disk leaves it without the end blocks."""
        self._finish()

    def _finish(self) -> None:
        try:
            os.write(self._fd, _END)
            os.fdatasync(self._fd)
        except OSError:
            # Every reader takes a tar without end blocks; half of one would confuse.
            os.ftruncate(self._fd, self.offset)
        finally:
            os.close(self._fd)

    def _open(self) -> int:
        return open_private(self._folder / shard_name(self.number))


def _write_all(descriptor: int, parts: list[bytes]) -> None:
    views = [memoryview(part) for part in parts if part]
    while views:
        written = os.writev(descriptor, views[:64])
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]
