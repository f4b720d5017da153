"""A folder of pictures or a video as a camera, frame by frame and at its own pace.

Pictures come when the rig's clock says that they are due, so a replay on a
:class:`~camera_rig.clock.ManualClock` runs as fast as it is read. Videos are only
read forward: seeking in compressed video does not hit the frame that was asked for.
"""

from __future__ import annotations

import csv
import itertools
import re
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from camera_rig.contracts import (
    Camera,
    CameraCapabilities,
    CameraSettings,
    CodedPicture,
    DeviceContext,
    DeviceInfo,
    DriverOptions,
    Frame,
    Pixels,
)
from camera_rig.errors import ConfigError, ConnectError, StateError, StorageError, UnsupportedError
from camera_rig.jpeg import coded_rgb

__all__ = ["ReplayCamera", "ReplayOptions"]

_JPEG = {".jpg", ".jpeg"}
_PICTURES = {*_JPEG, ".png", ".tif", ".tiff", ".bmp"}
_TIMES_COLUMN = "captured_ns"


class ReplayOptions(DriverOptions):
    """What to replay and how.

    Args:
        path: A folder of pictures (in the order of their names), or a video file.
        serial: Serial number to show; empty makes one from the name of ``path``.
        times: CSV file with a column ``captured_ns``, one line per picture; empty
            looks for ``frames.csv`` in the folder, or beside the video with its name.
        fps: Pace where there are no times, 1/s; 0 takes the video's own.
        paced: Whether pictures come at their times; if not, as soon as asked for.
        loop: Whether to begin again at the end.
        exposure_s: Exposure time to tell, s.
        linear: Whether the pictures are linear data.
        queue_frames: Pictures kept for a slow reader; older ones become gaps.
    """

    path: Path
    times: str = ""
    fps: Annotated[float, Field(ge=0)] = 0.0
    paced: bool = True
    loop: bool = False
    exposure_s: Annotated[float, Field(ge=0)] = 0.0
    linear: bool = False
    queue_frames: Annotated[int, Field(gt=0)] = 64


class _Source:
    """The pictures of a folder or a video, forward only, and their times."""

    def __init__(self, options: ReplayOptions) -> None:
        self._path = options.path.expanduser()
        self._video = self._path.is_file()
        if not self._path.exists():
            raise ConnectError(
                f"there is nothing to replay at {self._path}", hint="check `path` of this camera"
            )
        self._files = [] if self._video else _pictures_of(self._path)
        fps = options.fps or (self._video_fps() if self._video else 0.0)
        self.times_ns = _times(self._path, options.times)
        if self.times_ns is None and fps <= 0:
            raise ConfigError(
                f"{self._path} has no times: neither a CSV file nor a rate",
                hint="give `fps`, or a CSV file with a column captured_ns",
            )
        self.period_ns = round(1e9 / fps) if fps > 0 else self._typical_period_ns()
        self.nominal_fps = 1e9 / self.period_ns

    def __iter__(self) -> Iterator[Pixels | CodedPicture]:
        yield from self._video_pictures() if self._video else map(_read_picture, self._files)

    def due_ns(self, index: int) -> int:
        """Return when picture ``index`` of one pass comes after the first one, ns."""
        if self.times_ns is None:
            return index * self.period_ns
        if index >= len(self.times_ns):
            return self.times_ns[-1] - self.times_ns[0] + self.period_ns  # the end of the pass
        return self.times_ns[index] - self.times_ns[0]

    def need_time(self, index: int) -> None:
        """Refuse a picture without a line in the CSV file."""
        if self.times_ns is not None and index >= len(self.times_ns):
            raise StorageError(
                f"{self._path} has more pictures than lines in its CSV file",
                hint="one line per picture is needed",
            )

    def _typical_period_ns(self) -> int:
        assert self.times_ns is not None  # noqa: S101 - narrows for the type checker
        return max(1, int(np.median(np.diff(self.times_ns)))) if len(self.times_ns) > 1 else 1

    def _open_video(self) -> Any:
        import cv2

        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise ConnectError(
                f"{self._path} cannot be read as a video",
                hint="use FFV1 or MJPG in .avi or .mkv, or a folder of pictures",
            )
        return capture

    def _video_fps(self) -> float:
        import cv2

        capture = self._open_video()
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        capture.release()
        return fps

    def _video_pictures(self) -> Iterator[Pixels]:
        capture = self._open_video()
        try:
            while True:
                ok, pixels = capture.read()
                if not ok:
                    return
                yield _rgb(pixels, str(self._path))
        finally:
            capture.release()


class ReplayCamera(Camera):
    """Pictures that were taken before.

    Not offered: any setting. What was exposed is exposed.
    """

    Options = ReplayOptions
    options: ReplayOptions

    def __init__(self, options: ReplayOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._source_or_none: _Source | None = None
        self._size = (0, 0)
        self._snaps = 0
        self._snap_pictures: Iterator[Pixels | CodedPicture] = iter(())
        self._pass: Iterator[Pixels | CodedPicture] = iter(())
        self._waiting: deque[Frame] = deque()
        self._taking = threading.Lock()
        self._newest: Frame | None = None
        self._start_ns = self._pass_start_ns = 0
        self._count = self._index = 0
        self._last_ns = -1
        self._ended = False

    @property
    def _source(self) -> _Source:
        if self._source_or_none is None:
            raise StateError(f"{self.name} is not open", hint="open the rig first")
        return self._source_or_none

    @property
    def _serial(self) -> str:
        return self.options.serial or f"replay-{self.options.path.stem}"

    def _do_open(self) -> None:
        source = _Source(self.options)
        first = next(iter(source), None)
        if first is None:
            raise ConnectError(
                f"there is no picture in {self.options.path}", hint="check `path` of this camera"
            )
        self._source_or_none = source
        self._size = first.size if isinstance(first, CodedPicture) else first.shape[1::-1]
        self._snap_pictures, self._snaps = iter(source), 0
        self._settings = self._fixed(CameraSettings())

    def _do_close(self) -> None:
        self._source_or_none = None
        self._pass = self._snap_pictures = iter(())

    def _do_info(self) -> DeviceInfo:
        return DeviceInfo(self.kind, f"replay of {self.options.path.name}", self._serial, "replay")

    def _do_capabilities(self) -> CameraCapabilities:
        modes = CameraCapabilities().modes
        return CameraCapabilities(
            sizes=(self._size,),
            linear_modes=modes if self.options.linear else (),
            nominal_fps=self._source.nominal_fps,
        )

    def _do_configure(self, settings: CameraSettings) -> CameraSettings:
        fixed = self._fixed(settings)
        for name in ("exposure_s", "iso", "gain", "aperture"):
            if getattr(settings, name) not in (None, getattr(fixed, name)):
                raise UnsupportedError(
                    f"{self.name} is a replay: {name} was fixed when it was taken",
                    hint="leave it out, or use a real or simulated camera",
                )
        return fixed

    def _fixed(self, settings: CameraSettings) -> CameraSettings:
        return CameraSettings(
            exposure_s=self.options.exposure_s or None,
            size=self._size,
            mode=settings.mode,
            linear=self.options.linear,
        )

    def _do_start(self) -> None:
        self._waiting.clear()
        self._newest, self._ended = None, False
        self._count = self._index = 0
        self._pass = iter(self._source)
        self._start_ns = self._pass_start_ns = self.clock.now_ns()

    def _do_stop(self) -> None:
        self._pass = iter(())

    def _do_next_frame(self, timeout_s: float) -> Frame | None:
        if self.options.paced:
            self._take_due()
            if not self._waiting and not self._ended:
                wait_s = (self._next_due_ns() - self.clock.now_ns()) * 1e-9
                self.clock.sleep(min(max(wait_s, 0.0), timeout_s))
                self._take_due()
        elif not self._waiting:
            self._take_one(self.clock.now_ns())
        if self._waiting:
            return self._waiting.popleft()
        if self._ended:
            raise StateError(
                f"{self.name} has come to the end of {self.options.path.name}",
                hint="set `loop: true` to begin again by itself, or start anew",
            )
        return None

    def _do_latest_frame(self) -> Frame | None:
        if self.options.paced:
            self._take_due()
        elif self._newest is None:
            self._take_one(self.clock.now_ns())
        return self._newest

    def _do_snap(self) -> Frame:
        found = next(self._snap_pictures, None)
        if found is None and self.options.loop:
            self._snap_pictures = iter(self._source)
            found = next(self._snap_pictures, None)
        if found is None:
            raise StateError(
                f"{self.name} has come to the end of {self.options.path.name}",
                hint="set `loop: true` to begin again by itself",
            )
        self._snaps += 1
        return self._frame(found, self._snaps - 1, self.clock.now_ns())

    def _next_due_ns(self) -> int:
        return self._pass_start_ns + self._source.due_ns(self._index)

    def _take_due(self) -> None:
        """Read every picture that is due by now; the oldest fall out of a full queue."""
        with self._taking:  # one may wait for the next frame while another looks at the newest
            now_ns = self.clock.now_ns()
            while not self._ended and (due_ns := self._next_due_ns()) <= now_ns:
                self._take_one(due_ns)

    def _take_one(self, at_ns: int) -> None:
        found = next(self._pass, None)
        if found is None:
            self._ended = not self.options.loop or self._index == 0
            if self._ended:
                return
            last_ns = self._source.due_ns(self._index - 1)
            self._pass_start_ns += last_ns + self._source.period_ns
            self._pass, self._index = iter(self._source), 0
            if self.options.paced:
                return  # the first picture of the new pass has its own time
            found = next(self._pass)
        self._source.need_time(self._index)
        self._newest = self._frame(found, self._count, at_ns)
        self._count += 1
        self._index += 1
        self._waiting.append(self._newest)
        while len(self._waiting) > self.options.queue_frames:
            self._waiting.popleft()

    def _frame(self, found: Pixels | CodedPicture, number: int, at_ns: int) -> Frame:
        self._last_ns = max(at_ns, self._last_ns + 1)
        return Frame(
            picture=found,
            camera=self._serial,
            sequence=number,
            captured_ns=self._last_ns,
            uncertainty_ns=0,
            exposure_s=self.options.exposure_s,
            linear=self.options.linear,
            meta={"replay": self.options.path.name},
        )


def _pictures_of(folder: Path) -> list[Path]:
    """Return the pictures of a folder, numbers in names counted as numbers."""

    def key(path: Path) -> list[int | str]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]

    return sorted((p for p in folder.iterdir() if p.suffix.lower() in _PICTURES), key=key)


def _read_picture(path: Path) -> Pixels | CodedPicture:
    import cv2

    data = path.read_bytes()
    if path.suffix.lower() in _JPEG:
        return coded_rgb(data)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise StorageError(f"{path} is no picture", hint="remove it from the folder")
    return _rgb(pixels, str(path))


def _rgb(pixels: npt.NDArray[Any], where: str) -> Pixels:
    """Return grey as H×W and colour as H×W×3 RGB, whatever shape OpenCV gave it."""
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        return np.ascontiguousarray(pixels[..., 0])
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels[..., ::-1])
    raise StorageError(
        f"{where} has pictures of shape {pixels.shape}", hint="use grey or RGB without alpha"
    )


def _times(path: Path, given: str) -> list[int] | None:
    default = path.with_suffix(".csv") if path.is_file() else path / "frames.csv"
    file = Path(given).expanduser() if given else default
    if not file.is_file():
        if given:
            raise ConfigError(f"there is no file {file}", hint="check `times` of this camera")
        return None
    with file.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        if _TIMES_COLUMN not in (rows.fieldnames or ()):
            raise ConfigError(
                f"{file} has no column {_TIMES_COLUMN}", hint="its first line names the columns"
            )
        times = [int(row[_TIMES_COLUMN]) for row in rows]
    if any(b <= a for a, b in itertools.pairwise(times)):
        raise ConfigError(f"the times in {file} do not grow", hint="sort its lines by time")
    return times
