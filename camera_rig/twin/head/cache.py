"""Rendered clips on disk, so that a live twin reads memory instead of rendering.

A clip is a folder of plain arrays, named by a hash of everything that decides its pixels.
It is written aside and renamed, so a reader sees a whole clip or none. The cache holds at
most a given number of bytes: clips unused for longest are removed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import StorageError

_GIB = 1 << 30


def user_cache_dir() -> Path:
    """Return the user's folder for things that can be made again."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "camera-rig"


@dataclass(frozen=True)
class Clip:
    """A rendered clip, in memory or mapped from disk.

    Args:
        radiance: ``(n, H, W, 3)`` float16 linear light, 0 to 1.
        parts: ``(n, H, W)`` uint8 part numbers.
        landmarks_px: ``(n, 68, 2)`` float32.
    """

    radiance: NDArray[np.float16]
    parts: NDArray[np.uint8]
    landmarks_px: NDArray[np.float32]


_ARRAYS = ("radiance", "parts", "landmarks_px")


class ClipCache:
    """A folder of rendered clips with a size limit.

    Args:
        folder: Where to keep clips; made when the first is stored.
        limit_bytes: Total size to stay below. A single larger clip is refused.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = 4 * _GIB) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    @classmethod
    def default(cls) -> ClipCache:
        """Return the cache in the user's own cache folder."""
        return cls(user_cache_dir() / "heads")

    def get(self, key: str) -> Clip | None:
        """Return a stored clip, mapped from disk, or None."""
        path = self.folder / key
        if not path.is_dir():
            return None
        try:
            os.utime(path)
            arrays = [np.load(path / f"{name}.npy", mmap_mode="r") for name in _ARRAYS]
        except (OSError, ValueError) as error:
            raise StorageError(
                f"the cached clip {path} cannot be read: {error}",
                hint="delete that folder; it will be rendered again",
            ) from error
        return Clip(*arrays)

    def put(self, key: str, empty: Clip, fill: Callable[[Clip], None]) -> Clip:
        """Store a clip that ``fill`` writes straight into files, and return it mapped.

        Args:
            key: Hash of what decides the pixels.
            empty: Arrays of the clip's shapes; their values are not read.
            fill: Writes all frames into the clip that it is given.
        """
        need = sum(getattr(empty, name).nbytes for name in _ARRAYS)
        self._make_room(need)
        try:
            aside = Path(tempfile.mkdtemp(prefix=".partial-", dir=self.folder))
        except OSError as error:
            raise self._failed(error) from error
        try:
            clip = Clip(*(_map_new(aside / f"{n}.npy", getattr(empty, n)) for n in _ARRAYS))
            fill(clip)
            for name in _ARRAYS:
                getattr(clip, name).flush()
            del clip
            if not (self.folder / key).is_dir():
                aside.rename(self.folder / key)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        stored = self.get(key)
        if stored is None:
            raise self._failed(FileNotFoundError(key))
        return stored

    def size_bytes(self) -> int:
        """Return what all stored clips take."""
        return sum(_bytes_of(path) for path in self._clips())

    def _clips(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [p for p in self.folder.iterdir() if p.is_dir() and not p.name.startswith(".")]

    def _make_room(self, need_bytes: int) -> None:
        if need_bytes > self.limit_bytes:
            raise StorageError(
                f"a clip of {need_bytes / 1e6:.0f} MB does not fit a cache of "
                f"{self.limit_bytes / 1e6:.0f} MB",
                hint="shorten the clip, lower its fps, or raise the cache limit",
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(error) from error
        total = self.size_bytes()
        for path in sorted(self._clips(), key=lambda p: p.stat().st_mtime):
            if total + need_bytes <= self.limit_bytes:
                return
            total -= _bytes_of(path)
            shutil.rmtree(path)

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"the clip cache {self.folder} cannot be written: {error}",
            hint="free some disk, choose another cache folder, or run without a cache",
        )


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _map_new(path: Path, like: NDArray[Any]) -> NDArray[Any]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=like.dtype, shape=like.shape)
