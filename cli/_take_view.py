"""What a person sees while a take is recorded: figures, and the privacy branch in small."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group

    from camera_rig.recording.recorder import RecorderStatus

__all__ = ["TakeView"]

_THUMB_COLUMNS, _THUMB_ROWS, _THUMBS = 22, 7, 4


class TakeView:
    """Builds the live panel. It is handed privacy frames only and cannot show the other."""

    def __init__(self, title: str, prompt: str, total_s: float) -> None:
        self._title, self._prompt, self._total_s = title, prompt, total_s
        self._strip: deque[Any] = deque(maxlen=_THUMBS)
        self._next_thumb_s = 0.0

    def panel(self, status: RecorderStatus, countdown_s: float | None = None) -> Group:
        """Return the panel for one look at the recorder."""
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        lines = [Text(self._prompt or "no prompt", style="bold")]
        if countdown_s is not None:
            lines.append(Text(f"starts in {countdown_s:.0f} s", style="yellow"))
        else:
            lines.append(Text(_bar(status.elapsed_s, self._total_s), style="red"))
        lines += [Text(line) for line in figures(status)]
        parts: list[Any] = [Panel(Group(*lines), title=self._title, title_align="left")]
        if status.privacy is not None and status.elapsed_s >= self._next_thumb_s:
            self._strip.append(_thumbnail(status.privacy.shrunk(4)))
            self._next_thumb_s = status.elapsed_s + 0.5
        if self._strip:
            from rich.columns import Columns

            parts += [Text("privacy branch", style="dim"), Columns(list(self._strip))]
        return Group(*parts)


def figures(status: RecorderStatus) -> list[str]:
    """Return rate, skew, drops, queue and time left as lines of text."""
    lines = [
        f"{role:<8} {rate.fps:6.2f} fps  {rate.fps * rate.frame_bytes / 1e6:6.1f} MB/s"
        for role, rate in status.rates.items()
    ]
    if status.queue is not None:
        lost, dropped = sum(status.lost.values()), sum(status.dropped.values())
        lines += [
            f"pairs    {status.pairs}  skew {status.last_skew_ms:+.1f} ms  "
            f"over tolerance {status.over_tolerance}  alone {sum(status.unpaired.values())}",
            f"lost     {lost} by the cameras, {dropped} dropped here",
            f"queue    {status.queue.items} frames, {status.queue.size_bytes / 1e6:.1f} of "
            f"{status.queue.limit_bytes / 1e6:.0f} MB (most: {status.queue.high_bytes / 1e6:.1f})",
            f"stored   {status.stored_bytes / 1e6:.0f} MB, {status.remaining_s:.0f} s left",
        ]
    model = status.clock_model
    lines.append(
        f"clocks   {model.source}: {model.drift_ppm:+.1f} ppm, "
        f"± {model.offset_uncertainty_ns * 1e-6:.1f} ms"
    )
    return lines


def _bar(done_s: float, total_s: float, width: int = 40) -> str:
    filled = round(width * min(1.0, done_s / total_s))
    return f"{'━' * filled}{'─' * (width - filled)} {done_s:.1f} of {total_s:g} s"


def _thumbnail(pixels: Any) -> Any:
    """Return a picture as half blocks: two pixels a character."""
    import cv2
    from rich.text import Text

    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, axis=2)
    if pixels.dtype != "uint8":
        pixels = (pixels >> 8).astype("uint8")
    small = cv2.resize(
        pixels, (_THUMB_COLUMNS, 2 * _THUMB_ROWS), interpolation=cv2.INTER_AREA
    ).tolist()
    text = Text()
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            text.append("▀", style=f"{_colour(top)} on {_colour(bottom)}")
        text.append("\n")
    return text


def _colour(rgb: list[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
