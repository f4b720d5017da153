"""Where the side camera's pixels lie in the privacy picture, by a ChArUco board.

Both cameras look at a plane, so a homography does most; radial distortion of either lens
does the rest. The mirror is at rest meanwhile. The shape it will carry later shifts the
picture (coma and tilt move a PSF's centre), and :func:`centroid_shift_px` says by how much.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from calibration import stacks
from calibration.artifact import HeldOut
from calibration.operator import SceneRequest
from calibration.procedure import Context, Fitted, Plan, Procedure, Step
from camera_rig.contracts import Camera, CameraMode, CameraSettings
from camera_rig.errors import StateError
from camera_rig.optics import Coefficients, Pupil, Unit
from camera_rig.rig import Rig

__all__ = ["PlaneMap", "RegistrationProcedure", "centroid_shift_px", "fit_plane_map"]

Points = npt.NDArray[np.float64]

POSES: tuple[tuple[float, float, float], ...] = (
    (0.0, 0.0, 0.0),
    (-80.0, -50.0, 6.0),
    (80.0, 50.0, -5.0),
    (80.0, -50.0, 3.0),
    (-80.0, 50.0, -6.0),
)
"""Where the board is held: right and down of the middle, mm, and its turn, degrees."""
DICTIONARY = "DICT_5X5_100"
LIMIT_PX = 0.5
"""Of single corners; the map averages some two hundred of them."""


class PlaneMap:
    """Side pixels to privacy pixels: undistort, homography, distort.

    Args:
        parameters: Eight numbers of the homography on scaled pixels, then the radial
            distortion of the side and of the privacy lens at the corner (dimensionless).
        side_size: Width and height of the side picture, px.
        privacy_size: The same of the privacy picture.
    """

    def __init__(
        self, parameters: Points, side_size: tuple[int, int], privacy_size: tuple[int, int]
    ) -> None:
        self.parameters = np.asarray(parameters, dtype=np.float64)
        self.side_size, self.privacy_size = side_size, privacy_size

    def __call__(self, side_px: Points) -> Points:
        """Return privacy pixels (x, y) of side pixels (…, 2)."""
        p = self.parameters
        scaled = _scaled(side_px, self.side_size)
        plain = scaled / (1.0 + p[8] * np.sum(scaled**2, axis=-1, keepdims=True))
        moved = _project(np.append(p[:8], 1.0).reshape(3, 3), plain)
        bent = moved * (1.0 + p[9] * np.sum(moved**2, axis=-1, keepdims=True))
        return _unscaled(bent, self.privacy_size)

    @property
    def homography(self) -> Points:
        """The best 3 x 3 matrix without distortion, side px to privacy px."""
        import cv2

        width, height = self.side_size
        x, y = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 7))
        grid = np.stack([x.ravel(), y.ravel()], axis=1)
        matrix, _ = cv2.findHomography(grid, self(grid))
        return np.asarray(matrix, dtype=np.float64)


class RegistrationProcedure(Procedure):
    """Side to privacy geometry.

    Args:
        squares: Chessboard squares of the board, across and down.
        square_mm: Side of a square.
    """

    name: ClassVar[str] = "registration"
    title: ClassVar[str] = "Registration of the two cameras"
    devices: ClassVar[tuple[str, ...]] = ("privacy", "side", "mirror")
    scene: ClassVar[SceneRequest | None] = None

    def __init__(self, squares: tuple[int, int] = (9, 6), square_mm: float = 60.0) -> None:
        self.squares, self.square_mm = squares, square_mm

    def plan(self, rig: Rig) -> Plan:
        """Return what a run would do."""
        return Plan(40, 2 * len(POSES), 1.0 + 0.3 * len(POSES), self._request(0).instruction)

    def steps(self, context: Context) -> Iterator[Step]:
        """Yield one step per place of the board."""
        for place in range(len(POSES)):
            yield Step(
                f"pose-{place}", f"board, place {place + 1}", partial(self._pose, context, place)
            )

    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Fit all corners but every fifth; check on those."""
        side = np.concatenate([data[name]["side_px"] for name in sorted(data)])
        privacy = np.concatenate([data[name]["privacy_px"] for name in sorted(data)])
        first = data[sorted(data)[0]]
        sizes = tuple(map(int, first["side_size"])), tuple(map(int, first["privacy_size"]))
        held = np.arange(len(side)) % 5 == 2
        mapped = fit_plane_map(
            side[~held], privacy[~held], (sizes[0][0], sizes[0][1]), (sizes[1][0], sizes[1][1])
        )
        error = mapped(side) - privacy
        scaled = _unscaled(_scaled(side, mapped.side_size), mapped.privacy_size)
        after = _rms(error[held])
        homography = mapped.homography
        axis = mapped(np.array([[(sizes[0][0] - 1) / 2, (sizes[0][1] - 1) / 2]]))[0]
        shift = self._shift(context)
        return Fitted(
            figures={
                "corner_error_px": after,
                "corners": float(len(side)),
                "shift_of_middle_x_px": float(axis[0] - (sizes[1][0] - 1) / 2),
                "shift_of_middle_y_px": float(axis[1] - (sizes[1][1] - 1) / 2),
                "rotation_deg": float(np.degrees(np.arctan2(homography[1, 0], homography[0, 0]))),
                "magnification": float(np.sqrt(abs(np.linalg.det(homography[:2, :2])))),
                "side_distortion": float(mapped.parameters[8]),
                "privacy_distortion": float(mapped.parameters[9]),
            },
            held_out=HeldOut(
                metric="corner error on corners not fitted, px RMS",
                before=_rms((scaled - privacy)[held]),
                after=after,
                limit=LIMIT_PX,
            ),
            payload={
                "parameters": mapped.parameters.tolist(),
                "side_size": list(sizes[0]),
                "privacy_size": list(sizes[1]),
                "shift_of_shown_shape_px": shift,
            },
            arrays={"side_px": side, "privacy_px": privacy, "error_px": error},
            texts={
                "registration.json": json.dumps({"homography": homography.tolist()}) + "\n",
            },
            pictures=[
                (
                    "Error map",
                    "What is left at each corner, privacy pixels; arrows 100 times enlarged.",
                    partial(_error_map, privacy, error, held),
                )
            ],
            notes=("the picture moves with the mirror's shape: see shift_of_shown_shape_px",),
        )

    def _request(self, place: int) -> SceneRequest:
        x, y, turn = POSES[place]
        where = "in the middle" if not place else f"{x:+.0f} mm across, {y:+.0f} mm down"
        return SceneRequest(
            "charuco",
            f"Hold the {self.squares[0]}x{self.squares[1]} ChArUco board ({DICTIONARY}, squares of "
            f"{self.square_mm:g} mm) at the subject's place, {where}, turned by about "
            f"{turn:+.0f} degrees, square to the rig (place {place + 1} of {len(POSES)}).",
            settings=(
                ("squares", self.squares),
                ("square_mm", self.square_mm),
                ("centre_mm", (x, y, 0.0)),
                ("rotation_deg", (0.0, 0.0, turn)),
            ),
        )

    def _pose(self, context: Context, place: int) -> dict[str, Any]:
        rig = context.rig
        if place == 0:
            stacks.settle(rig.mirror)
        rig.mirror.apply(
            stacks.to_volts(rig.mirror, np.zeros(rig.mirror.actuators)), reason="registration: rest"
        )
        context.operator.provide(self._request(place))
        pictures = {"side": _photograph(rig.side), "privacy": _photograph(rig.privacy)}
        sizes = {role: (p.shape[1], p.shape[0]) for role, p in pictures.items()}
        found = {role: self._corners(picture, role) for role, picture in pictures.items()}
        found["privacy"] = _completed(found["side"], found["privacy"], pictures["privacy"])
        both = np.intersect1d(found["side"][0], found["privacy"][0])
        if both.size < 8:
            raise StateError(
                f"only {both.size} corners of the board were seen by both cameras",
                hint="hold the board nearer to the middle, flat and evenly lit",
            )
        kept = {
            f"{role}_px": points[np.searchsorted(ids, both)]
            for role, (ids, points) in found.items()
        }
        return {**kept, **{f"{role}_size": np.array(size) for role, size in sizes.items()}}

    def _corners(self, picture: Any, role: str) -> tuple[npt.NDArray[np.int64], Points]:
        import cv2

        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY))
        board = cv2.aruco.CharucoBoard(
            self.squares, self.square_mm, 0.75 * self.square_mm, dictionary
        )
        corners, ids, _, _ = cv2.aruco.CharucoDetector(board).detectBoard(picture)
        if ids is None or len(ids) < 6:
            count = 0 if ids is None else len(ids)
            raise StateError(
                f"the {role} camera sees {count} corners of the ChArUco board",
                hint="put the board before the rig, all of it in both pictures, lit evenly; "
                f"it must be {self.squares[0]}x{self.squares[1]}, {DICTIONARY}",
            )
        order = np.argsort(ids.ravel())
        points = corners.reshape(-1, 2)[order].astype(np.float64)
        return ids.ravel()[order].astype(np.int64), _refined(picture, points)

    def _shift(self, context: Context) -> list[float] | None:
        shown = context.store.active("realise")
        if shown is None:
            return None
        values = {int(j): float(v) for j, v in shown.payload["shown_noll_waves"].items()}
        shape = Coefficients.numbered(values, Unit.WAVES_RMS, "noll", 550.0)
        from calibration.point_camera import pupil_of

        return list(centroid_shift_px(shape, pupil_of(context)))


def fit_plane_map(
    side: Points, privacy: Points, side_size: tuple[int, int], privacy_size: tuple[int, int]
) -> PlaneMap:
    """Return the map that carries side corners to privacy corners (px), by least squares."""
    import cv2
    from scipy.optimize import least_squares

    matrix, _ = cv2.findHomography(_scaled(side, side_size), _scaled(privacy, privacy_size))
    start = np.append((matrix / matrix[2, 2]).ravel()[:8], [0.0, 0.0])

    def gap(p: Points) -> Points:
        error = PlaneMap(p, side_size, privacy_size)(side) - privacy
        # A slight pull to no distortion: the two lenses' cannot be told apart well.
        return np.append(error.ravel(), 10.0 * p[8:])

    found = least_squares(gap, start, loss="soft_l1", f_scale=0.5)
    return PlaneMap(found.x, side_size, privacy_size)


def centroid_shift_px(shape: Coefficients, pupil: Pupil) -> tuple[float, float]:
    """Return how far a wavefront moves the centre of light: (right, down) px.

    The centre of a PSF lies where the mean slope points: tilts move it, coma does too.
    Shape in the pupil as the upright picture shows it, y up.
    """
    from camera_rig.optics import zernike

    um = shape.to(unit=Unit.UM_RMS)
    listed = um.modes
    if not listed:
        return 0.0, 0.0
    # The mean slope over the disc is a rim integral: mean of 2 W cos(theta), 2 W sin(theta).
    theta = 2.0 * np.pi * np.arange(256) / 256
    rim = um.array(listed) @ zernike.basis(listed, np.ones(256), theta)
    slope = 2.0 * np.mean(rim * np.cos(theta)), 2.0 * np.mean(rim * np.sin(theta))
    gain = pupil.pixels_per_slope_um
    return float(gain * slope[0]), float(-gain * slope[1])


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
    if both.size < 6:
        return privacy
    here = side[1][np.searchsorted(side[0], both)]
    there = privacy[1][np.searchsorted(privacy[0], both)]
    matrix, _ = cv2.findHomography(here, there, cv2.RANSAC, 2.0)
    guess = _project(np.asarray(matrix), side[1])
    height, width = picture.shape
    inside = np.all((guess > 16) & (guess < np.array([width - 17, height - 17])), axis=1)
    refined = _refined(picture, guess[inside])
    kept = np.linalg.norm(refined - guess[inside], axis=1) < 4.0
    return side[0][inside][kept], refined[kept]


def _photograph(camera: Camera) -> Any:
    """Return the mean of some pictures, 8-bit grey, with an exposure that suits them."""
    import cv2

    able = camera.capabilities
    mode = CameraMode.STILL if CameraMode.STILL in able.modes else CameraMode.LIVE
    exposure_s = camera.settings.exposure_s or 1 / 60
    for _ in range(8):
        camera.configure(CameraSettings(exposure_s=exposure_s, mode=mode, linear=False))
        grey = _grey(camera.snap().pixels)
        bright = float(np.percentile(grey, 97))
        if 120 <= bright <= 245:
            break
        # Codes are gamma coded: light goes with about the square.
        factor = 0.3 if bright > 245 else (190.0 / max(bright, 10.0)) ** 2.2
        low, high = able.exposure_s or (1e-4, 1.0)
        exposure_s = float(np.clip(exposure_s * factor, low, high))
    total = np.mean([_grey(camera.snap().pixels) for _ in range(4)], axis=0)
    return cv2.convertScaleAbs(total)


def _grey(pixels: Any) -> Any:
    import cv2

    if pixels.ndim == 2:
        return np.asarray(pixels >> 8 if pixels.dtype == np.uint16 else pixels, dtype=np.uint8)
    eight = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    return cv2.cvtColor(np.ascontiguousarray(eight), cv2.COLOR_RGB2GRAY)


def _scaled(points: Points, size: tuple[int, int]) -> Points:
    middle = (np.array(size, dtype=float) - 1.0) / 2.0
    return np.asarray((points - middle) / (np.hypot(*size) / 2.0))


def _unscaled(points: Points, size: tuple[int, int]) -> Points:
    middle = (np.array(size, dtype=float) - 1.0) / 2.0
    return np.asarray(points * (np.hypot(*size) / 2.0) + middle)


def _project(matrix: Points, points: Points) -> Points:
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[..., :2] / moved[..., 2:])


def _rms(error: Points) -> float:
    return float(np.sqrt(np.mean(np.sum(error**2, axis=1))))


def _error_map(points: Points, error: Points, held: Any, figure: Any) -> None:
    axes = figure.add_subplot()
    for chosen, colour, label in ((~held, "#3b6ea5", "fitted"), (held, "#d98c1f", "held out")):
        axes.quiver(
            points[chosen, 0],
            points[chosen, 1],
            100 * error[chosen, 0],
            100 * error[chosen, 1],
            angles="xy",
            scale_units="xy",
            scale=1.0,
            width=0.003,
            color=colour,
            label=label,
        )
    axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.set(xlabel="x, px", ylabel="y, px")
    axes.legend()
