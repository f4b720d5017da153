"""The public faces that the page offers to choose from."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from models.runtime.live import LivePipeline

__all__ = ["ReferenceDesk"]

_THUMB_PX = 128


class ReferenceDesk:
    """Lists the references of the bundle and chooses one. Safe from any thread.

    Args:
        live: The pipeline, entered.
    """

    def __init__(self, live: LivePipeline) -> None:
        self._live = live
        self._listed: list[dict[str, Any]] = []

    def listed(self) -> list[dict[str, Any]]:
        """Return names, and pictures as JPEG in base64 (None where none is shipped)."""
        found = self._live.references
        if len(self._listed) != len(found):
            self._listed = [
                {"name": each.name, "jpeg": None if each.picture is None else _jpeg(each.picture)}
                for each in found.values()
            ]
        return self._listed

    def choose(self, name: str) -> None:
        """Paint in the style of another face from now on.

        Raises:
            ConfigError: There is none of that name.
        """
        self._live.choose_reference(name)


def _jpeg(picture: npt.NDArray[np.uint8]) -> str:
    import cv2

    small = cv2.resize(picture, (_THUMB_PX, _THUMB_PX), interpolation=cv2.INTER_AREA)
    _, coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return base64.b64encode(bytes(coded)).decode("ascii")
