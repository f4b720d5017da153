"""Live pictures in a terminal, and contact sheets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from camera_rig.errors import StateError
from cli._common import console

if TYPE_CHECKING:
    from rich.text import Text

    from camera_rig.contracts import Camera, Frame

__all__ = ["make_sheet", "watch_cameras"]

_TIMEOUT_S = 5.0
_SHEET_COLUMNS = 6
_THUMB_WIDTH = 240


class _Tally:
    """Counts what one camera delivered."""

    def __init__(self, role: str, camera: Camera) -> None:
        self.role, self.camera = role, camera
        self.frames = self.lost = 0
        self.first_ns = self.last_ns = 0
        self.newest: Frame | None = None

    def take(self) -> Frame:
        frame = self.camera.next_frame(_TIMEOUT_S)
        self.frames += 1
        self.lost += int(frame.meta.get("lost_before", 0))
        self.first_ns = self.first_ns or frame.captured_ns
        self.last_ns, self.newest = frame.captured_ns, frame
        return frame

    def facts(self) -> dict[str, Any]:
        span_s = (self.last_ns - self.first_ns) * 1e-9
        fps = (self.frames - 1) / span_s if span_s > 0 else 0.0
        size = "x".join(map(str, self.newest.size)) if self.newest is not None else ""
        return {
            "role": self.role,
            "frames": self.frames,
            "fps": round(fps, 2),
            "lost": self.lost,
            "size": size,
        }


def watch_cameras(
    cameras: list[tuple[str, Camera]], seconds: float, columns: int, *, quiet: bool
) -> list[dict[str, Any]]:
    """Show the cameras side by side for ``seconds`` (s); return counts per camera."""
    from rich.columns import Columns
    from rich.live import Live

    tallies = [_Tally(role, camera) for role, camera in cameras]
    shown = not quiet and sys.stdout.isatty()
    with Live(console=console(), transient=False, auto_refresh=False) as live:
        for _ in _rounds(tallies, seconds):
            if shown:
                pictures = [_as_text(t.newest, columns, t.role) for t in tallies if t.newest]
                live.update(Columns(pictures), refresh=True)
    return [tally.facts() for tally in tallies]


def make_sheet(
    cameras: list[tuple[str, Camera]], seconds: float, path: Path
) -> list[dict[str, Any]]:
    """Save a contact sheet of ``seconds`` (s) of live view, one row of frames per camera."""
    import cv2

    tallies = [_Tally(role, camera) for role, camera in cameras]
    kept: dict[str, list[npt.NDArray[np.uint8]]] = {tally.role: [] for tally in tallies}
    wanted_s = np.linspace(0, seconds, _SHEET_COLUMNS, endpoint=False)
    for spent_s in _rounds(tallies, seconds):
        for tally in tallies:
            row = kept[tally.role]
            if len(row) < len(wanted_s) and spent_s >= wanted_s[len(row)] and tally.newest:
                row.append(_thumb(tally.newest, _THUMB_WIDTH))
    rows = [np.hstack(_padded(row)) for row in kept.values() if row]
    if not rows:
        raise StateError("no frame came", hint="watch for a longer time")
    width = max(row.shape[1] for row in rows)
    sheet = np.vstack([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet[..., ::-1])
    return [{**tally.facts(), "sheet": str(path)} for tally in tallies]


def _rounds(tallies: list[_Tally], seconds: float) -> Any:
    """Stream all cameras and yield the time spent (s) after each round of frames."""
    clock = tallies[0].camera.clock
    for tally in tallies:
        tally.camera.start()
    try:
        began_ns = clock.now_ns()
        while (spent_s := (clock.now_ns() - began_ns) * 1e-9) < seconds:
            for tally in tallies:
                tally.take()
            yield spent_s
    finally:
        for tally in tallies:
            tally.camera.stop()


def _padded(row: list[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    height = max(picture.shape[0] for picture in row)
    return [np.pad(p, ((0, height - p.shape[0]), (0, 4), (0, 0))) for p in row]


def _thumb(frame: Frame, width: int, height: int = 0) -> npt.NDArray[np.uint8]:
    import cv2

    pixels = frame.pixels
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    height = height or max(1, round(width * pixels.shape[0] / pixels.shape[1]))
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _as_text(frame: Frame, columns: int, title: str) -> Text:
    """Return the frame as half-block characters, two pixels in each."""
    from rich.text import Text

    rows = max(2, round(columns * frame.size[1] / frame.size[0] / 2) * 2)
    small = _thumb(frame, columns, rows)
    text = Text(f"{title} #{frame.sequence}\n", no_wrap=True)
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        for a, b in zip(upper, lower, strict=True):
            text.append("▀", style="rgb({},{},{}) on rgb({},{},{})".format(*a, *b))
        text.append("\n")
    return text
