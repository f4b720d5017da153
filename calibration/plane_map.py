"""From side pixels to privacy pixels: a homography and the radial distortion of both lenses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from camera_rig.optics import Coefficients, Pupil, Unit

__all__ = ["PlaneMap", "Size", "centroid_shift_px", "fit_plane_map", "project", "rms"]

Points = npt.NDArray[np.float64]
Size = tuple[int, int]

_SOFT_PX = 0.5
_DISTORTION_PULL = 10.0


class PlaneMap:
    """Side pixels to privacy pixels: undistort, homography, distort.

    Args:
        parameters: Eight numbers of the homography on scaled pixels, then the radial
            distortion of the side and of the privacy lens at the corner (dimensionless).
        side_size: Width and height of the side picture, px.
        privacy_size: The same of the privacy picture.
        covariance: Of the parameters, or None where it is not known.
    """

    def __init__(
        self,
        parameters: Points,
        side_size: Size,
        privacy_size: Size,
        covariance: Points | None = None,
    ) -> None:
        self.parameters = np.asarray(parameters, dtype=np.float64)
        self.side_size, self.privacy_size = side_size, privacy_size
        self.covariance = covariance

    def __call__(self, side_px: Points) -> Points:
        """Return privacy pixels (x, y) of side pixels (…, 2)."""
        return self._with(self.parameters, side_px)

    def sigma_px(self, side_px: Points) -> Points:
        """Return one standard deviation of each mapped point (…, 2), privacy px."""
        if self.covariance is None:
            return np.zeros(np.shape(side_px))
        slopes = []
        for place in range(len(self.parameters)):
            step = np.zeros(len(self.parameters))
            step[place] = 1e-5
            up = self._with(self.parameters + step, side_px)
            slopes.append((up - self._with(self.parameters - step, side_px)) / 2e-5)
        jacobian = np.stack(slopes, axis=-1)
        variance = np.einsum("...ip,pq,...iq->...i", jacobian, self.covariance, jacobian)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    @property
    def homography(self) -> Points:
        """The best 3 x 3 matrix without distortion, side px to privacy px."""
        import cv2

        grid = self.grid(9, 7)
        matrix, _ = cv2.findHomography(grid, self(grid))
        return np.asarray(matrix, dtype=np.float64)

    def grid(self, across: int, down: int) -> Points:
        """Return side pixels spread evenly over the whole picture, (across * down, 2)."""
        width, height = self.side_size
        x, y = np.meshgrid(np.linspace(0, width - 1, across), np.linspace(0, height - 1, down))
        return np.stack([x.ravel(), y.ravel()], axis=1)

    def stretched(self, side_px: Points) -> Points:
        """Return where side pixels lie when one picture is just laid over the other, px."""
        return _unscaled(_scaled(side_px, self.side_size), self.privacy_size)

    def _with(self, p: Points, side_px: Points) -> Points:
        scaled = _scaled(side_px, self.side_size)
        plain = scaled / (1.0 + p[8] * np.sum(scaled**2, axis=-1, keepdims=True))
        moved = project(np.append(p[:8], 1.0).reshape(3, 3), plain)
        bent = moved * (1.0 + p[9] * np.sum(moved**2, axis=-1, keepdims=True))
        return _unscaled(bent, self.privacy_size)


def fit_plane_map(side: Points, privacy: Points, side_size: Size, privacy_size: Size) -> PlaneMap:
    """Return the map that carries side points to privacy points (px), by least squares."""
    import cv2
    from scipy.optimize import least_squares

    matrix, _ = cv2.findHomography(_scaled(side, side_size), _scaled(privacy, privacy_size))
    start = np.append((matrix / matrix[2, 2]).ravel()[:8], [0.0, 0.0])

    def gap(p: Points) -> Points:
        error = PlaneMap(p, side_size, privacy_size)(side) - privacy
        # A slight pull to no distortion: the two lenses' cannot be told apart well.
        return np.append(error.ravel(), _DISTORTION_PULL * p[8:])

    found = least_squares(gap, start, loss="soft_l1", f_scale=_SOFT_PX)
    left = gap(found.x)
    variance = float(np.sum(left**2)) / max(left.size - start.size, 1)
    covariance = variance * np.linalg.pinv(found.jac.T @ found.jac)
    return PlaneMap(found.x, side_size, privacy_size, covariance)


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


def project(matrix: Points, points: Points) -> Points:
    """Return points (…, 2) carried by a 3 x 3 matrix."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[..., :2] / moved[..., 2:])


def rms(error: Points) -> float:
    """Return the root mean square length of vectors (n, 2)."""
    return float(np.sqrt(np.mean(np.sum(error**2, axis=1))))


def _scaled(points: Points, size: Size) -> Points:
    middle = (np.array(size, dtype=float) - 1.0) / 2.0
    return np.asarray((points - middle) / (np.hypot(*size) / 2.0))


def _unscaled(points: Points, size: Size) -> Points:
    middle = (np.array(size, dtype=float) - 1.0) / 2.0
    return np.asarray(points * (np.hypot(*size) / 2.0) + middle)
