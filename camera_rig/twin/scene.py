"""What stands before the rig: one small protocol, and pictures or videos as scenes.

A scene is a window of the object plane filled with *linear* light. It knows nothing
of lenses, sensors or clocks: the optical bench asks ``radiance(t_s)`` and turns it
into what a camera sees, a scorer asks ``truth(t_s)`` and learns what was really there.

Axes: row 0 is the top, x points right, and positions in mm are measured from the
centre of the field, x right and y down, so they run the same way as pixels.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import ConfigError, UnsupportedError

Radiance = NDArray[np.float32]

_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


@dataclass(frozen=True, kw_only=True)
class Field:
    """The window of the object plane that a scene fills, with square pixels.

    Args:
        height_px: Rows of the picture.
        width_px: Columns of the picture.
        width_mm: Width of the window at the object plane.
    """

    height_px: int = 512
    width_px: int = 512
    width_mm: float = 400.0

    def __post_init__(self) -> None:
        """Refuse a window without area."""
        if self.height_px < 1 or self.width_px < 1 or not self.width_mm > 0:
            raise ConfigError(
                f"a scene field of {self.width_px} x {self.height_px} px and "
                f"{self.width_mm} mm has no area",
                hint="give at least one pixel each way and a positive width in mm",
            )

    @property
    def mm_per_px(self) -> float:
        """Width of one pixel at the object plane in mm."""
        return self.width_mm / self.width_px

    @property
    def height_mm(self) -> float:
        """Height of the window at the object plane in mm."""
        return self.height_px * self.mm_per_px

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a radiance picture: rows, columns, red-green-blue."""
        return (self.height_px, self.width_px, 3)

    def to_px(self, xy_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return pixel coordinates (x, y) of points in mm; pixel centres are whole numbers."""
        centre = np.array([(self.width_px - 1) / 2, (self.height_px - 1) / 2])
        return np.asarray(np.asarray(xy_mm) / self.mm_per_px + centre, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class SceneTruth:
    """What was really there. Scenes subclass it with what they know.

    Args:
        kind: Name of the scene, for example ``flat`` or ``head``.
        t_s: Scene time that was asked for, in seconds.
    """

    kind: str
    t_s: float


@runtime_checkable
class Scene(Protocol):
    """Linear light on a field of the object plane, and the truth about it.

    The same scene built from the same settings gives the same pixels on every run.
    ``radiance`` may return a shared, read-only array: copy before writing.

    Not offered: exposure, blur, noise and motion within an exposure. They belong to
    the bench and the sensor; a sensor that wants motion blur asks at several times.
    """

    @property
    def field(self) -> Field:
        """The window that the pictures fill."""
        ...

    def radiance(self, t_s: float) -> Radiance:
        """Return linear light, ``(H, W, 3)`` float32 in 0 to 1, 1 being the brightest white."""
        ...

    def frame_key(self, t_s: float) -> Hashable:
        """Return a key that is equal for two times only if their pixels are equal.

        A bench keeps its filtered picture while the key stays the same.
        """
        ...

    def truth(self, t_s: float) -> SceneTruth:
        """Return what was really there at that time."""
        ...


def srgb_to_linear(srgb: NDArray[np.uint8]) -> Radiance:
    """Return linear light 0 to 1 of 8-bit sRGB values (IEC 61966-2-1)."""
    return _SRGB_LUT[srgb]


def linear_to_srgb(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return 8-bit sRGB of linear light in 0 to 1; values outside are limited to the range."""
    x = np.clip(linear, 0.0, 1.0)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(x, 1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255.0), dtype=np.uint8)


def _srgb_table() -> Radiance:
    v = np.arange(256) / 255.0
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


_SRGB_LUT = _srgb_table()


@dataclass(frozen=True, kw_only=True)
class PictureTruth(SceneTruth):
    """Which picture was shown.

    Args:
        source: Name of the file.
        index: Number of the picture in the folder or of the frame in the video.
    """

    source: str
    index: int


def _fit(rgb: NDArray[np.uint8], field: Field) -> Radiance:
    """Cover the field: scale in linear light, keep the aspect, crop the rest evenly."""
    import cv2

    linear = srgb_to_linear(rgb)
    height, width = linear.shape[:2]
    scale = max(field.height_px / height, field.width_px / width)
    size = (
        max(field.width_px, round(width * scale)),
        max(field.height_px, round(height * scale)),
    )
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = linear if size == (width, height) else cv2.resize(linear, size, interpolation=how)
    top, left = (size[1] - field.height_px) // 2, (size[0] - field.width_px) // 2
    cropped = scaled[top : top + field.height_px, left : left + field.width_px]
    return _frozen(np.ascontiguousarray(cropped, dtype=np.float32))


def _frozen(picture: Radiance) -> Radiance:
    picture.setflags(write=False)
    return picture


def _frame_index(t_s: float, fps: float, count: int) -> int:
    return int(np.floor(t_s * fps + 1e-9)) % count


class FolderScene:
    """A folder of pictures shown one after the other, in the order of their names, for ever.

    Args:
        folder: Folder with PNG, JPEG, TIFF, BMP or WebP pictures in sRGB.
        field: Window to fill; pictures are scaled to cover it and cropped evenly.
        fps: Pictures per second.
    """

    def __init__(self, folder: Path, field: Field | None = None, *, fps: float = 1.0) -> None:
        self._field = field or Field()
        self._fps = _positive_rate(fps)
        if not folder.is_dir():
            raise ConfigError(
                f"scene folder {folder} does not exist", hint="give a folder with pictures"
            )
        self._files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _PICTURES)
        if not self._files:
            raise ConfigError(
                f"scene folder {folder} holds no picture",
                hint=f"put pictures there ({', '.join(sorted(_PICTURES))})",
            )
        self._shown: tuple[int, Radiance] | None = None

    @property
    def field(self) -> Field:
        """The window that the pictures fill."""
        return self._field

    def frame_key(self, t_s: float) -> int:
        """Return the number of the picture shown at that time."""
        return _frame_index(t_s, self._fps, len(self._files))

    def radiance(self, t_s: float) -> Radiance:
        """Return the picture shown at that time as linear light 0 to 1."""
        index = self.frame_key(t_s)
        if self._shown is None or self._shown[0] != index:
            self._shown = (index, _fit(_read_rgb(self._files[index]), self._field))
        return self._shown[1]

    def truth(self, t_s: float) -> PictureTruth:
        """Return the name and number of the picture shown at that time."""
        index = self.frame_key(t_s)
        return PictureTruth(kind="folder", t_s=t_s, source=self._files[index].name, index=index)


def _positive_rate(fps: float) -> float:
    if not fps > 0:
        raise ConfigError(f"a rate of {fps} pictures per second is none", hint="give fps > 0")
    return fps


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    import cv2

    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise UnsupportedError(
            f"{path} cannot be read as a picture", hint="re-save it as 8-bit PNG or JPEG"
        )
    return np.ascontiguousarray(bgr[..., ::-1])


class VideoScene:
    """A video file as the scene, repeated for ever.

    Frames are decoded in order as time goes on; going back in time seeks, which is slower.

    Args:
        path: Video file that OpenCV can decode.
        field: Window to fill; frames are scaled to cover it and cropped evenly.
        fps: Rate to play at; by default that of the file.
    """

    def __init__(self, path: Path, field: Field | None = None, *, fps: float | None = None) -> None:
        import cv2

        self._field = field or Field()
        self._path = path
        self._video = cv2.VideoCapture(str(path))
        self._count = int(self._video.get(cv2.CAP_PROP_FRAME_COUNT))
        if not self._video.isOpened() or self._count < 1:
            raise ConfigError(
                f"{path} cannot be opened as a video", hint="check the path and the codec"
            )
        self._fps = _positive_rate(fps or float(self._video.get(cv2.CAP_PROP_FPS)))
        self._next = 0
        self._shown: tuple[int, Radiance] | None = None

    @property
    def field(self) -> Field:
        """The window that the frames fill."""
        return self._field

    @property
    def duration_s(self) -> float:
        """Length of one pass through the video in seconds."""
        return self._count / self._fps

    def frame_key(self, t_s: float) -> int:
        """Return the number of the video frame shown at that time."""
        return _frame_index(t_s, self._fps, self._count)

    def radiance(self, t_s: float) -> Radiance:
        """Return the video frame shown at that time as linear light 0 to 1."""
        index = self.frame_key(t_s)
        if self._shown is None or self._shown[0] != index:
            self._shown = (index, _fit(self._decode(index), self._field))
        return self._shown[1]

    def truth(self, t_s: float) -> PictureTruth:
        """Return the file name and the number of the frame shown at that time."""
        return PictureTruth(
            kind="video", t_s=t_s, source=self._path.name, index=self.frame_key(t_s)
        )

    def close(self) -> None:
        """Release the decoder; the scene cannot be used afterwards."""
        self._video.release()

    def _decode(self, index: int) -> NDArray[np.uint8]:
        import cv2

        if not self._next <= index <= self._next + 30:
            self._video.set(cv2.CAP_PROP_POS_FRAMES, index)
            self._next = index
        while True:
            good, bgr = self._video.read()
            if not good:
                raise UnsupportedError(
                    f"{self._path} could not be decoded at frame {self._next}",
                    hint="the file may be torn; re-encode it",
                )
            self._next += 1
            if self._next > index:
                return np.ascontiguousarray(bgr[..., ::-1])
