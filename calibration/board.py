"""Corners of a ChArUco board in both cameras' pictures, to a fraction of a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.plane_map import Points, project
from calibration.resting_spot import as_seen
from camera_rig.errors import StateError

__all__ = ["Board"]

DICTIONARY = "DICT_5X5_100"
_LEAST_SEEN, _LEAST_SHARED = 6, 8
_NEAR_PX = 4.0
_ALIKE = 0.8


@dataclass(frozen=True)
class Board:
    """A ChArUco board.

    Args:
        squares: Chessboard squares, across and down.
        square_mm: Side of a square.
    """

    squares: tuple[int, int] = (9, 6)
    square_mm: float = 60.0

    @property
    def words(self) -> str:
        """What board it is, for a person."""
        across, down = self.squares
        return f"{across}x{down} ChArUco board ({DICTIONARY}, squares of {self.square_mm:g} mm)"

    def pairs(
        self, side: Any, privacy: Any, kernel: npt.NDArray[np.float64] | None = None
    ) -> tuple[Points, Points]:
        """Return the same corners in both 8-bit grey pictures, px.

        Args:
            side: Picture of the side camera.
            privacy: Picture of the privacy camera.
            kernel: PSF of the privacy camera: what it does to corners is taken off.

        Raises:
            StateError: A camera does not see enough of the board.
        """
        found = {"side": self._corners(side, "side")}
        try:
            read = self._corners(privacy, "privacy")
            found["privacy"] = _completed(found["side"], read, privacy)
        except StateError:
            # Markers too blurred to be read: the pictures as wholes still fit each other.
            rough = _rough_map(side, privacy)
            if rough is None:
                raise
            found["privacy"] = _looked_up(found["side"], rough, privacy)
        both = np.intersect1d(found["side"][0], found["privacy"][0])
        if both.size < _LEAST_SHARED:
            raise StateError(
                f"only {both.size} corners of the board were seen by both cameras",
                hint="hold the board nearer to the middle, flat and evenly lit",
            )
        here, there = (
            points[np.searchsorted(ids, both)] for ids, points in (found["side"], found["privacy"])
        )
        if kernel is not None:
            there = there - self._shifts(kernel, there, both)
        return here, there

    def _shifts(
        self, kernel: npt.NDArray[np.float64], corners: Points, ids: npt.NDArray[np.int64]
    ) -> Points:
        """Return by how much a PSF moves each corner, px, found on a drawn board."""
        import cv2

        gaps = np.linalg.norm(corners[:, None] - corners[None], axis=2)
        np.fill_diagonal(gaps, np.inf)
        step = max(round(float(np.median(gaps.min(axis=0)))), 16)
        across, down = self.squares
        drawn = self._charuco().generateImage((across * step, down * step), marginSize=0)
        # Ink is not black nor paper white: what counts is their step in light.
        print_out = cv2.convertScaleAbs(drawn, alpha=0.55, beta=40)
        column, row = ids % (across - 1) + 1, ids // (across - 1) + 1
        true: Points = np.asarray(np.stack([column, row], axis=1) * float(step) - 0.5)
        seen = cv2.convertScaleAbs(as_seen(print_out, kernel))
        return np.asarray(_refined(seen, true) - _refined(print_out, true))

    def _corners(self, picture: Any, role: str) -> tuple[npt.NDArray[np.int64], Points]:
        import cv2

        corners, ids, _, _ = cv2.aruco.CharucoDetector(self._charuco()).detectBoard(picture)
        if ids is None or len(ids) < _LEAST_SEEN:
            count = 0 if ids is None else len(ids)
            raise StateError(
                f"the {role} camera sees {count or 'no'} corners of the ChArUco board",
                hint=f"put the {self.words} before the rig, all of it in both pictures, lit "
                "evenly; without a board: `rig calibrate run registration --natural-scene`",
            )
        order = np.argsort(ids.ravel())
        points = corners.reshape(-1, 2)[order].astype(np.float64)
        return ids.ravel()[order].astype(np.int64), _refined(picture, points)

    def _charuco(self) -> Any:
        import cv2

        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY))
        return cv2.aruco.CharucoBoard(
            self.squares, self.square_mm, 0.75 * self.square_mm, dictionary
        )


def _refined(picture: Any, points: Points) -> Points:
    """Return corners to a fraction of a pixel: a window as wide as a third of a square."""
    import cv2

    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    half = int(np.clip(0.16 * np.median(gaps.min(axis=0)), 4, 15))
    work = points.reshape(-1, 1, 2).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-4)
    cv2.cornerSubPix(picture, work, (half, half), (-1, -1), stop)
    return work.reshape(-1, 2).astype(np.float64)


def _completed(
    side: tuple[npt.NDArray[np.int64], Points],
    privacy: tuple[npt.NDArray[np.int64], Points],
    picture: Any,
) -> tuple[npt.NDArray[np.int64], Points]:
    """Find the corners whose markers were too blurred to read: the side view says where."""
    import cv2

    both = np.intersect1d(side[0], privacy[0])
    if both.size < _LEAST_SEEN:
        return privacy
    here = side[1][np.searchsorted(side[0], both)]
    there = privacy[1][np.searchsorted(privacy[0], both)]
    matrix, _ = cv2.findHomography(here, there, cv2.RANSAC, 2.0)
    return _looked_up(side, np.asarray(matrix), picture)


def _looked_up(
    side: tuple[npt.NDArray[np.int64], Points], matrix: Points, picture: Any
) -> tuple[npt.NDArray[np.int64], Points]:
    """Return the side view's corners found again near where a matrix puts them."""
    guess = project(matrix, side[1])
    height, width = picture.shape
    inside = np.all((guess > 16) & (guess < np.array([width - 17, height - 17])), axis=1)
    refined = _refined(picture, guess[inside])
    kept = np.linalg.norm(refined - guess[inside], axis=1) < _NEAR_PX
    return side[0][inside][kept], refined[kept]


def _rough_map(side: Any, privacy: Any) -> Points | None:
    """Return the affine map (3 x 3) that lays the whole pictures over each other, or None."""
    import cv2

    height, width = privacy.shape
    # Shrunk to where both are equally sharp, and where a misalignment is a few pixels.
    small = tuple(
        cv2.GaussianBlur(cv2.resize(p, (240, 160), interpolation=cv2.INTER_AREA), (0, 0), 2.0)
        for p in (side, privacy)
    )
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    try:
        share, found = cv2.findTransformECC(
            small[0], small[1], np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, stop, None, 5
        )
    except cv2.error:
        return None  # they are pictures of different things
    if share < _ALIKE:
        return None
    grow = np.diag([width / 240.0, height / 160.0, 1.0])
    shrink = np.diag([240.0 / side.shape[1], 160.0 / side.shape[0], 1.0])
    return np.asarray(grow @ np.vstack([found, [0.0, 0.0, 1.0]]) @ shrink, dtype=np.float64)
