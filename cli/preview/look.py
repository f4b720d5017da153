"""One picture of what viewers would see: some of the new faces, and of the twin its frame too.

A distorted frame of a person is not written: who knows the optics gets a good part of the
face back from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.runtime.live import LivePipeline
    from models.runtime.live_data import LiveFrame

__all__ = ["look"]

_FACES = 4
_CELL_PX = 320


def look(
    live: LivePipeline, place: Path, *, simulated: bool, patience_s: float = 90.0
) -> dict[str, Any]:
    """Wait for faces in several styles and write them side by side.

    Args:
        live: A running pipeline.
        place: The picture to write.
        simulated: The rig is the digital twin: its distorted frame may be written beside.
        patience_s: How long to wait for each face, s.

    Returns:
        Styles shown, engine, and milliseconds from capture to picture.

    Raises:
        StateError: No face came; the reason is the card's.
    """
    names = list(live.references)[:_FACES]
    cells, waits_ms = [], []
    for name in names:
        live.choose_reference(name)
        frame = _face(live, name, patience_s)
        if simulated and not cells and (view := live.privacy_view()) is not None:
            cells.append(_window(view.picture, view.box))
        cells.append(_fitted(frame.picture))
        if frame.captured_s is not None:
            waits_ms.append((frame.out_s - frame.captured_s) * 1000.0)
    _write(place, cells)
    return {
        "picture": str(place),
        "references": names,
        "engine": live.status().engine,
        "capture_to_picture_ms": [round(w, 1) for w in waits_ms],
    }


def _face(live: LivePipeline, name: str, patience_s: float) -> LiveFrame:
    import time

    from camera_rig.errors import StateError

    after, until_s = 0, time.monotonic() + patience_s
    reason = "nothing came"
    while time.monotonic() < until_s:
        frame = live.wait(after, 1.0)
        if frame is None:
            continue
        after = frame.number
        if not frame.blank and frame.reference == name:
            return frame
        reason = frame.reason or reason
    raise StateError(
        f"no face could be shown: {reason}",
        hint="`rig preview` shows what it waits for; `rig doctor` tells whether the rig is well",
    )


def _window(picture: Any, box: Any) -> Any:
    """The part of the distorted frame the face was read from."""
    import cv2
    import numpy as np

    scale = _CELL_PX / box.size_px
    matrix = np.array(
        [
            [scale, 0.0, _CELL_PX / 2 - scale * box.x_px],
            [0.0, scale, _CELL_PX / 2 - scale * box.y_px],
        ]
    )
    return cv2.warpAffine(picture, matrix, (_CELL_PX, _CELL_PX), borderMode=cv2.BORDER_REPLICATE)


def _fitted(picture: Any) -> Any:
    import cv2

    return cv2.resize(picture, (_CELL_PX, _CELL_PX), interpolation=cv2.INTER_AREA)


def _write(place: Path, cells: list[Any]) -> None:
    import cv2
    import numpy as np

    from camera_rig.errors import StorageError

    place.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(place), np.hstack(cells)[..., ::-1]):
        raise StorageError(f"cannot write {place}", hint="use a .png or .jpg in a folder of yours")
