"""The same places in both cameras' pictures of any scene, when there is no board.

Features (SIFT) find the rough geometry. Then the side picture is carried over, blurred as
much as the privacy picture is, and compared with it patch by patch (enhanced correlation):
that is where the fractions of a pixel come from. Right for things as far away as the scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.plane_map import PlaneMap, Points, fit_plane_map, project
from calibration.resting_spot import as_seen
from camera_rig.errors import StateError

__all__ = ["natural_pairs"]

_BLURS_PX = (0.0, 1.0, 2.0, 3.0, 4.5, 6.5)
_LEAST_FEATURES, _LEAST_PATCHES = 30, 40
_CELLS_LEFT_EMPTY = 3
_LEAST_CORRELATION = 0.85
_ROUNDS = 3


def natural_pairs(
    side: Any, privacy: Any, kernel: npt.NDArray[np.float64] | None = None
) -> tuple[Points, Points]:
    """Return the same places (px) in two 8-bit grey pictures of one scene.

    Args:
        side: Picture of the side camera.
        privacy: Picture of the privacy camera.
        kernel: PSF of the privacy camera; None: a round one is found that fits.

    Raises:
        StateError: The scene has too little detail, or does not fill the picture.
    """
    here, there = _features(side, privacy)
    sizes = (side.shape[1], side.shape[0]), (privacy.shape[1], privacy.shape[0])
    mapped = fit_plane_map(here, there, *sizes)
    if kernel is None:
        blur_px = _blur_between(side, privacy, mapped)
        side = _blurred(side, blur_px)
    for _ in range(_ROUNDS):
        here, there = _patches(side, privacy, mapped, kernel)
        mapped = fit_plane_map(here, there, *sizes)
    return here, there


def _features(side: Any, privacy: Any) -> tuple[Points, Points]:
    """Return matched features that agree on one homography, px."""
    import cv2

    best: tuple[Points, Points] = np.zeros((0, 2)), np.zeros((0, 2))
    sift = cv2.SIFT.create(nfeatures=4000, contrastThreshold=0.01)
    spots, words = sift.detectAndCompute(_even(privacy), None)
    for blur_px in (0.0, 2.0, 4.5):
        own, own_words = sift.detectAndCompute(_even(_blurred(side, blur_px)), None)
        if words is None or own_words is None or min(len(own), len(spots)) < 8:
            continue
        near = cv2.BFMatcher().knnMatch(own_words, words, k=2)
        good = [m[0] for m in near if len(m) == 2 and m[0].distance < 0.8 * m[1].distance]
        if len(good) < 8:
            continue
        here = np.array([own[m.queryIdx].pt for m in good], dtype=float)
        there = np.array([spots[m.trainIdx].pt for m in good], dtype=float)
        _, fits = cv2.findHomography(here, there, cv2.RANSAC, 3.0)
        fits = np.zeros(len(good), bool) if fits is None else fits.ravel() > 0
        if fits.sum() > len(best[0]):
            best = here[fits], there[fits]
    empty = _empty_cells(best[0], side.shape)
    if len(best[0]) < _LEAST_FEATURES or empty > _CELLS_LEFT_EMPTY:
        raise StateError(
            f"the scene cannot replace the board: {len(best[0])} places were found in both "
            f"pictures, {empty} of 9 parts of the picture have none",
            hint="fill the picture with something flat and rich in detail at the subject's "
            "place (a poster, a bookshelf), light it, or use the ChArUco board",
        )
    return best


def _patches(
    side: Any, privacy: Any, mapped: PlaneMap, kernel: npt.NDArray[np.float64] | None
) -> tuple[Points, Points]:
    """Return places (px) in both pictures, from patches laid over each other."""
    import cv2

    height, width = privacy.shape
    size = max(24, round(width / 15) // 2 * 2)
    over = _carried(side, mapped, privacy.shape)
    if kernel is not None:
        seen = np.isfinite(over).astype(np.uint8)
        over = as_seen(np.where(seen, over, 128.0), kernel)
        # What the kernel brought in from beyond the side picture's edge is no picture.
        over[cv2.erode(seen, np.ones(kernel.shape, np.uint8), borderValue=1) == 0] = np.nan
    homography = np.asarray(np.linalg.inv(mapped.homography), dtype=np.float64)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    found: list[tuple[Points, Points]] = []
    for top in range(size // 2, height - size, size // 2):
        for left in range(size // 2, width - size, size // 2):
            part = np.s_[top : top + size, left : left + size]
            shown, wanted = over[part], privacy[part].astype(np.float32)
            if not np.isfinite(shown).all() or min(shown.std(), wanted.std()) < 4.0:
                continue
            move = np.eye(2, 3, dtype=np.float32)
            try:
                share, move = cv2.findTransformECC(
                    wanted, shown, move, cv2.MOTION_TRANSLATION, stop, None, 1
                )
            except cv2.error:
                continue  # no shift makes them alike: this patch says nothing
            shift = np.asarray(move[:, 2], dtype=float)
            if share < _LEAST_CORRELATION or np.abs(shift).max() > 4.0:
                continue
            middle = np.array([left, top], dtype=float) + (size - 1) / 2.0
            # The patch at ``middle`` shows what the carried picture has at middle + shift.
            found.append((_unmapped(mapped, homography, middle + shift), middle))
    if len(found) < _LEAST_PATCHES:
        raise StateError(
            f"the scene cannot replace the board: only {len(found)} patches are alike in both "
            "pictures",
            hint="fill the picture with something flat, still and rich in detail, or use the "
            "ChArUco board",
        )
    return np.array([a for a, _ in found]), np.array([b for _, b in found])


def _unmapped(mapped: PlaneMap, inverse: Points, privacy_px: Any) -> Points:
    """Return the side pixel that is mapped to a privacy pixel."""
    there = project(inverse, privacy_px)
    for _ in range(3):
        there = there + project(inverse, privacy_px) - project(inverse, mapped(there))
    return np.asarray(there, dtype=np.float64)


def _carried(side: Any, mapped: PlaneMap, shape: tuple[int, int]) -> Any:
    """Return the side picture as the privacy camera would see it; NaN where it sees more."""
    import cv2

    height, width = shape
    x, y = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    inverse = np.asarray(np.linalg.inv(mapped.homography), dtype=np.float64)
    places = _unmapped(mapped, inverse, np.stack([x, y], axis=-1))
    places = places.astype(np.float32)
    return cv2.remap(
        side.astype(np.float32),
        places[..., 0],
        places[..., 1],
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )


def _blur_between(side: Any, privacy: Any, mapped: PlaneMap) -> float:
    """Return the blur (standard deviation, px) that makes the side picture most alike."""
    wanted = privacy.astype(np.float64)

    def likeness(blur_px: float) -> float:
        shown = _carried(_blurred(side, blur_px), mapped, privacy.shape)
        seen = np.isfinite(shown)
        return float(np.corrcoef(shown[seen], wanted[seen])[0, 1])

    return max(_BLURS_PX, key=likeness)


def _blurred(picture: Any, blur_px: float) -> Any:
    import cv2

    return cv2.GaussianBlur(picture, (0, 0), blur_px) if blur_px else picture


def _even(picture: Any) -> Any:
    import cv2

    return cv2.createCLAHE(2.0, (8, 8)).apply(picture)


def _empty_cells(points: Points, shape: tuple[int, int]) -> int:
    if not len(points):
        return 9
    height, width = shape
    columns = np.clip(points[:, 0] * 3 // width, 0, 2)
    rows = np.clip(points[:, 1] * 3 // height, 0, 2)
    return 9 - len(set(zip(columns.tolist(), rows.tolist(), strict=True)))
