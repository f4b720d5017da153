"""Where a point of the object plane lands on a sensor, and how pictures follow it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.twin import _random
from camera_rig.twin.scene import Field as SceneField

__all__ = ["Geometry", "GeometryOptions", "Grid", "Resampler"]

Floats = NDArray[np.float64]


class GeometryOptions(BaseModel):
    """How one branch is mounted. None: drawn from the world's seed.

    Args:
        magnification: Relative to the nominal one of the bench (dimensionless).
        rotation_deg: Turn of the picture, clockwise as seen, degrees.
        shift_px: Where the axis lands, right and down of the sensor's middle, px.
        distortion: Radial distortion in the corners, relative; positive: pincushion.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    magnification: Annotated[float, Field(gt=0.5, lt=2)] | None = None
    rotation_deg: Annotated[float, Field(ge=-180, le=180)] | None = None
    shift_px: tuple[float, float] | None = None
    distortion: Annotated[float, Field(ge=-0.1, le=0.1)] | None = None


@dataclass(frozen=True)
class Geometry:
    """Object plane (mm, x right, y down, from the axis) to sensor (px) and back.

    Args:
        size: Width and height of the sensor, px.
        px_per_mm: Sensor pixels per mm of the object plane.
        rotation_deg: Turn, clockwise as seen, degrees.
        shift_px: Where the axis lands, from the sensor's middle, px.
        distortion: Relative radial distortion at the corner's distance.
    """

    size: tuple[int, int]
    px_per_mm: float
    rotation_deg: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    distortion: float = 0.0

    @classmethod
    def drawn(
        cls, options: GeometryOptions, size: tuple[int, int], px_per_mm: float, state: int
    ) -> Geometry:
        """Return the configured mounting; what is None belongs to the key ``state``."""

        def chosen(value: float | None, number: int, spread: float) -> float:
            return spread * _random.normal(state, number) if value is None else value

        magnification = 1.0 + chosen(
            None if options.magnification is None else options.magnification - 1.0, 1, 0.01
        )
        shift = options.shift_px or (
            4.0 * _random.normal(state, 3),
            4.0 * _random.normal(state, 4),
        )
        return cls(
            size,
            px_per_mm * magnification,
            chosen(options.rotation_deg, 2, 0.4),
            shift,
            chosen(options.distortion, 5, 0.002),
        )

    @property
    def axis_px(self) -> tuple[float, float]:
        """Where the axis lands, px; pixel centres are whole numbers."""
        width, height = self.size
        return (width - 1) / 2 + self.shift_px[0], (height - 1) / 2 + self.shift_px[1]

    def to_px(self, xy_mm: NDArray[Any]) -> Floats:
        """Return pixel coordinates of points (…, 2) in mm."""
        turned = np.asarray(xy_mm, dtype=np.float64) @ self._turn().T * self.px_per_mm
        square = np.sum(turned**2, axis=-1, keepdims=True) / self._corner_px**2
        return np.asarray(turned * (1.0 + self.distortion * square) + np.array(self.axis_px))

    def to_mm(self, xy_px: NDArray[Any]) -> Floats:
        """Return object-plane points (…, 2) in mm of pixel coordinates."""
        seen = np.asarray(xy_px, dtype=np.float64) - np.array(self.axis_px)
        radius = np.sqrt(np.sum(seen**2, axis=-1, keepdims=True)) / self._corner_px
        # Newton on r (1 + k r^2) = radius: three steps reach 1e-12 for |k| <= 0.1.
        r = radius.copy()
        for _ in range(4):
            r -= (r * (1 + self.distortion * r**2) - radius) / (1 + 3 * self.distortion * r**2)
        plain = seen / (1.0 + self.distortion * r**2)
        return np.asarray(plain @ self._turn() / self.px_per_mm)

    @property
    def _corner_px(self) -> float:
        return math.hypot(*self.size) / 2

    def _turn(self) -> Floats:
        angle = math.radians(self.rotation_deg)
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


@dataclass(frozen=True)
class Grid:
    """A rectangular set of sample points on the sensor.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        origin_px: Sensor coordinates (x, y) of the first sample.
        step_px: Distance of samples, px.
    """

    rows: int
    columns: int
    origin_px: tuple[float, float] = (0.0, 0.0)
    step_px: float = 1.0

    def points_px(self) -> Floats:
        """Return sensor coordinates (rows, columns, 2), px."""
        x = self.origin_px[0] + self.step_px * np.arange(self.columns)
        y = self.origin_px[1] + self.step_px * np.arange(self.rows)
        return np.stack(np.meshgrid(x, y), axis=-1)


class Resampler:
    """Looks scene pictures up on a sensor grid; light goes on beyond the scene's edge.

    Own code instead of OpenCV's remap, which rounds positions to 1/32 px.

    Args:
        geometry: Mounting of the branch.
        grid: Where to sample.
        field: Window of the scene's pictures.
    """

    def __init__(self, geometry: Geometry, grid: Grid, field: SceneField) -> None:
        place = field.to_px(geometry.to_mm(grid.points_px()))
        x = np.clip(place[..., 0], 0.0, field.width_px - 1 - 1e-6)
        y = np.clip(place[..., 1], 0.0, field.height_px - 1 - 1e-6)
        column = np.minimum(np.floor(x), max(field.width_px - 2, 0))
        row = np.minimum(np.floor(y), max(field.height_px - 2, 0))
        self._corner = (row * field.width_px + column).astype(np.int32)
        self._fraction_x = (x - column).astype(np.float32)
        self._fraction_y = (y - row).astype(np.float32)
        self.shape = (3, grid.rows, grid.columns)

    def __call__(self, picture: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the (3, rows, columns) samples of an (H, W, 3) picture into ``out``."""
        from camera_rig.twin import _kernels

        _kernels.resample(
            np.ascontiguousarray(picture), self._corner, self._fraction_x, self._fraction_y, out
        )
