"""Where the picture goes besides the page: a window, a virtual camera, a file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from camera_rig.errors import RigError

if TYPE_CHECKING:
    from models.runtime.live import LivePipeline
    from models.runtime.live_data import LiveFrame
    from models.runtime.outputs import Output

__all__ = ["show_window", "side_outputs"]

_log = logging.getLogger(__name__)


class _Stoppable:
    """An output that can be ended from another thread.

    Args:
        output: Where frames go.
    """

    def __init__(self, output: Output) -> None:
        self._output, self._stop = output, threading.Event()

    def show(self, frame: LiveFrame) -> bool:
        """Show a frame; False once ended."""
        return not self._stop.is_set() and self._output.show(frame)

    def stop(self) -> None:
        """End with the next frame."""
        self._stop.set()

    def close(self) -> None:
        """Let go of the output."""
        self._output.close()


class _Feed:
    """Feeds one output in a thread of its own. Use as a context manager.

    Leaving it closes the output, so that a file gets its name, and raises what went wrong.
    """

    def __init__(self, live: LivePipeline, output: Output) -> None:
        self._live, self._output = live, _Stoppable(output)
        self._error: RigError | None = None
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End, and close the output."""
        self._output.stop()
        self._thread.join()
        self._output.close()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        from models.runtime.outputs import pump

        try:
            pump(self._live, self._output)
        except RigError as error:
            _log.error("output_failed", extra={"why": error.message})
            self._error = error


@contextmanager
def side_outputs(
    live: LivePipeline, *, virtual_camera: bool, record: Path | None
) -> Iterator[None]:
    """Feed a virtual camera and a file for the length of a block.

    Raises:
        RigError: An output cannot be had, or failed on the way.
    """
    from models.runtime.outputs import Recording, VirtualCamera

    with ExitStack() as stack:
        if virtual_camera:
            stack.enter_context(_Feed(live, VirtualCamera(live.latest())))
        if record is not None:
            stack.enter_context(_Feed(live, Recording(record)))
        yield


def show_window(live: LivePipeline) -> None:
    """Show a window until it is closed; belongs to the main thread.

    Raises:
        UnsupportedError: There is no display.
    """
    from models.runtime.outputs import Window, pump

    with Window() as window:
        pump(live, window)
