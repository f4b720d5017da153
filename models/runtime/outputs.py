"""Where live frames go besides the browser: a window, a virtual camera, a file.

Every output takes :class:`LiveFrame` and nothing else, so that only painted faces and
cards can get there. A file or a camera runs at one rate: the newest frame is repeated or
skipped to keep it.
"""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from camera_rig.errors import StateError, StorageError, UnsupportedError
from models.runtime.live import LivePipeline
from models.runtime.live_data import LiveFrame

__all__ = ["Output", "Recording", "VirtualCamera", "Window", "pump"]

_log = logging.getLogger(__name__)
_WINDOW_S = 60.0


class Output(Protocol):
    """Somewhere to show frames."""

    def show(self, frame: LiveFrame) -> bool:
        """Show a frame; return False when the user has closed the output."""
        ...

    def close(self) -> None:
        """Let go of everything; safe twice."""
        ...


class _Closing(ABC):
    def __enter__(self) -> Self:
        """Return the output."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""


class Window(_Closing):
    """A window of OpenCV. Key q or Escape, or the window's own button, closes it.

    Args:
        title: Text in its bar.

    Raises:
        UnsupportedError: OpenCV was built without windows, or there is no display.
    """

    def __init__(self, title: str = "camera-rig: de-identified") -> None:
        if why := _why_no_window():
            raise UnsupportedError(
                f"OpenCV cannot open a window here: {why}",
                hint="use the browser (`rig preview`), or an OpenCV that is not headless",
            )
        import cv2

        self._title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        self._open, self._shown = True, False

    def show(self, frame: LiveFrame) -> bool:
        """Show a frame; False once the user has closed the window."""
        import cv2

        # Asked first: showing a picture would open a window anew that the user has closed.
        if self._shown and not self._is_there():
            self._open = False
            return False
        cv2.imshow(self._title, cv2.cvtColor(frame.picture, cv2.COLOR_RGB2BGR))
        self._shown = True
        return (cv2.waitKey(1) & 0xFF) not in (ord("q"), 27)

    def _is_there(self) -> bool:
        import cv2

        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt's word for: no window is left
            return False

    def close(self) -> None:
        """Close the window."""
        import cv2

        if self._open:
            self._open = False
            cv2.destroyWindow(self._title)


def _why_no_window() -> str:
    """Try a window in another process: without a display, Qt ends the one that asks."""
    fonts = os.environ.setdefault("QT_QPA_FONTDIR", _font_folder())
    done = subprocess.run(
        [sys.executable, "-c", "import cv2; cv2.namedWindow('x'); cv2.destroyAllWindows()"],
        env={**os.environ, "QT_QPA_FONTDIR": fonts},
        capture_output=True,
        timeout=_WINDOW_S,
        check=False,
    )
    if done.returncode == 0:
        return ""
    headless = sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return "there is no display" if headless else "a trial window failed"


def _font_folder() -> str:
    """A folder with fonts: OpenCV's Qt looks for one of its own, and complains."""
    from matplotlib import get_data_path

    return f"{get_data_path()}/fonts/ttf"


class VirtualCamera(_Closing):
    """A camera that other programs see (v4l2loopback on Linux, OBS elsewhere).

    Args:
        first: A frame, for the size.
        fps: Rate told to other programs, 1/s.
        device: Device to use, e.g. ``/dev/video9``; None lets the library choose.

    Raises:
        UnsupportedError: pyvirtualcam is not installed, or there is no such device.
    """

    def __init__(self, first: LiveFrame, fps: float = 30.0, device: str | None = None) -> None:
        try:
            library = importlib.import_module("pyvirtualcam")
        except ImportError as error:
            raise UnsupportedError(
                "pyvirtualcam is not installed", hint="pip install camera-rig[virtual-camera]"
            ) from error
        height, width = first.picture.shape[:2]
        self.size = (width, height)
        try:
            self._camera: Any = library.Camera(width=width, height=height, fps=fps, device=device)
        except RuntimeError as error:
            raise UnsupportedError(
                f"no virtual camera: {error}",
                hint="load one first (Linux: `sudo modprobe v4l2loopback`), or name its device",
            ) from error

    @property
    def device(self) -> str:
        """Name of the device that other programs open."""
        return str(self._camera.device)

    def show(self, frame: LiveFrame) -> bool:
        """Send a frame."""
        self._camera.send(frame.picture)
        return True

    def close(self) -> None:
        """Give the device back."""
        self._camera.close()


class Recording(_Closing):
    """A video file of what was shown, de-identified by its nature; never over another file.

    It is written aside and takes its name when it is closed. Times are even: the file has
    ``fps`` pictures for each second between the first frame and the last.

    Args:
        path: ``.mp4`` or ``.avi``; must not exist.
        fps: Pictures per second of the file.

    Raises:
        StorageError: The file exists, or cannot be written.
    """

    _CODECS: ClassVar[dict[str, str]] = {".mp4": "mp4v", ".avi": "MJPG"}

    def __init__(self, path: Path, fps: float = 30.0) -> None:
        if path.suffix.lower() not in self._CODECS:
            raise UnsupportedError(
                f"{path.name}: no such kind of video", hint="end the name in .mp4 or .avi"
            )
        if path.exists():
            raise StorageError(f"{path} exists already", hint="choose another name")
        self.path, self.fps, self.frames = path, fps, 0
        self._aside = path.with_name(f".{path.stem}.part{path.suffix}")
        self._writer: Any = None
        self._size: tuple[int, int] | None = None
        self._first_s: float | None = None

    def show(self, frame: LiveFrame) -> bool:
        """Write the frame as often as it takes to keep the file's rate."""
        import cv2

        if self._writer is None:
            self._begin(frame)
        if self._first_s is None:
            self._first_s = frame.out_s
        due = int((frame.out_s - self._first_s) * self.fps + 0.5) + 1 - self.frames
        picture = frame.picture
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        for _ in range(due):
            self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            self.frames += 1
        return True

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            self._aside.replace(self.path)
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be written: {error}", hint="check the disk and permissions"
            ) from error

    def _begin(self, frame: LiveFrame) -> None:
        import cv2

        self.path.parent.mkdir(parents=True, exist_ok=True)
        height, width = frame.picture.shape[:2]
        self._size = (width - width % 2, height - height % 2)
        code = cv2.VideoWriter.fourcc(*self._CODECS[self.path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._aside), code, self.fps, self._size)
        if not self._writer.isOpened():
            self._writer = None
            raise StorageError(
                f"{self.path} cannot be written as video",
                hint="check folder, space and OpenCV's codecs; .avi needs none",
            )


def pump(live: LivePipeline, output: Output, until_s: float | None = None) -> int:
    """Send the newest frames to an output until it is closed; return how many.

    Args:
        live: A running pipeline.
        output: Where to.
        until_s: Stop after so many seconds of frames; None goes on.

    Raises:
        StateError: The pipeline gave nothing for five seconds.
    """
    number = sent = 0
    first_s: float | None = None
    while True:
        frame = live.wait(number, timeout_s=5.0)
        if frame is None:
            raise StateError("the live view gives no frames", hint="look at `rig doctor`")
        number = frame.number
        first_s = frame.out_s if first_s is None else first_s
        if not output.show(frame):
            return sent
        live.note_sent(frame)
        sent += 1
        if until_s is not None and frame.out_s - first_s >= until_s:
            return sent
