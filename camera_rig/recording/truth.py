"""The truth about a simulated take, written beside it for scoring and for preparation.

Only a simulated world has one. One JSON line per stored frame: when it was really
exposed, the 68 landmarks on that camera (px), and face units such as closed eyes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from camera_rig.errors import StorageError, UnsupportedError
from camera_rig.recording._files import write_aside
from camera_rig.recording.reading import Take

__all__ = ["TRUTH", "FrameTruth", "WorldTruth", "read_truth", "write_truth"]

TRUTH = "truth.jsonl"
_EYES = (8, 9)  # eyeBlinkLeft and eyeBlinkRight among the 52 ARKit units, by name


class WorldTruth(Protocol):
    """What is needed of a simulated world's hidden truth."""

    def true_time_ns(self, role: str, sequence: int, session: int | None = None) -> int:
        """Return when a frame was really exposed, rig clock ns."""
        ...

    def landmarks_px(self, role: str, at_ns: int | None = None) -> npt.NDArray[np.float64]:
        """Return 68 landmarks on a camera's sensor, px."""
        ...

    def side_to_privacy(self, xy_px: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return where the privacy camera has what the side camera has, px."""
        ...

    def scene(self, at_ns: int | None = None) -> Any:
        """Return what stands before the rig."""
        ...


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """The truth about one frame.

    Args:
        true_ns: Real middle of the exposure, rig clock, ns.
        landmarks_px: 68 points on this camera; empty without a head.
        eyes_closed: 0 open to 1 closed.
        yaw_deg: Turn of the head, degrees.
        identity: Who is shown, as the world numbers them.
    """

    true_ns: int
    landmarks_px: npt.NDArray[np.float64]
    eyes_closed: float = 0.0
    yaw_deg: float = 0.0
    identity: str = ""


def write_truth(take: Take, truth: WorldTruth, sessions: Mapping[str, int]) -> Path:
    """Write the truth file of a simulated take.

    Args:
        take: A sealed, simulated take.
        truth: The world's truth.
        sessions: Role to the number of the live session it was recorded in.
    """
    lines = [{"homography": _homography(take, truth)}, *_lines(take, truth, sessions)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path = take.folder / TRUTH

    def fill(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8")

    write_aside(path, fill)
    return path


def read_truth(
    folder: Path,
) -> tuple[npt.NDArray[np.float64], dict[tuple[str, str], FrameTruth]]:
    """Return the side → privacy homography and the truth by (key, role).

    Raises:
        StorageError: There is no truth file, or it is damaged.
    """
    path = folder / TRUTH
    if not path.exists():
        raise StorageError(
            f"{folder.name} has no truth file",
            hint="only takes of the digital twin have one; use --register and a detector",
        )
    try:
        with path.open(encoding="utf-8") as file:
            matrix = np.array(json.loads(file.readline())["homography"], dtype=np.float64)
            found = {}
            for line in file:
                data = json.loads(line)
                found[data["key"], data["role"]] = FrameTruth(
                    true_ns=data["true_ns"],
                    landmarks_px=np.array(data["landmarks_px"], dtype=np.float64).reshape(-1, 2),
                    eyes_closed=data["eyes_closed"],
                    yaw_deg=data["yaw_deg"],
                    identity=data["identity"],
                )
    except (ValueError, KeyError) as error:
        raise StorageError(f"{path} is damaged: {error}", hint="record the take again") from error
    return matrix, found


def _lines(take: Take, truth: WorldTruth, sessions: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for group in take.groups:
        for role, frame in group.frames.items():
            true_ns = truth.true_time_ns(role, frame.sequence, sessions[role])
            scene = truth.scene(true_ns)
            try:
                landmarks = truth.landmarks_px(role, true_ns).round(2).tolist()
            except UnsupportedError:
                landmarks = []
            pose = getattr(scene, "pose", None)
            yield {
                "key": group.key,
                "role": role,
                "true_ns": true_ns,
                "landmarks_px": landmarks,
                "eyes_closed": _eyes_closed(scene),
                "yaw_deg": float(getattr(pose, "yaw_deg", 0.0)),
                "identity": str(getattr(getattr(scene, "identity", None), "seed", "")),
            }


def _eyes_closed(scene: Any) -> float:
    units = getattr(scene, "coefficients", None)
    return 0.0 if units is None else float(max(units[index] for index in _EYES))


def _homography(take: Take, truth: WorldTruth) -> list[list[float]]:
    import cv2

    first = take.groups[0].frames
    frame = first.get("side") or next(iter(first.values()))
    w, h = frame.width_px, frame.height_px
    side = np.array([[0, 0], [w, 0], [w, h], [0, h]], dtype=np.float64)
    matrix, _ = cv2.findHomography(side, np.asarray(truth.side_to_privacy(side)))
    return [[float(x) for x in row] for row in matrix]
