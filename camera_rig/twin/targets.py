"""Calibration targets as scenes: pinhole, ChArUco board, flat field and step wedge.

All are exact where that is possible: pixels of the pinhole hold its true area, the
wedge its true levels, and the board its true corners in fractions of a pixel.
Lights that blink are in :mod:`camera_rig.twin.lights`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import ConfigError
from camera_rig.twin.scene import Field, Radiance, SceneTruth

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FlatTruth(SceneTruth):
    """An even field.

    Args:
        level: Linear light, 0 to 1.
    """

    level: float


@dataclass(frozen=True, kw_only=True)
class PointTruth(SceneTruth):
    """A bright disc on black.

    Args:
        centre_px: (x, y) of its centre.
        diameter_px: Its diameter in pixels; may be below one.
    """

    centre_px: tuple[float, float]
    diameter_px: float


@dataclass(frozen=True, kw_only=True)
class WedgeTruth(SceneTruth):
    """Patches of known light.

    Args:
        levels: Linear light of each patch, left to right.
        edges_px: Column of each patch's left edge, and of the last one's right edge.
    """

    levels: tuple[float, ...]
    edges_px: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CharucoTruth(SceneTruth):
    """A ChArUco board.

    Args:
        corners_px: (x, y) of the inner chessboard corners in the order of their ids.
        pose_mm: Position of the board's centre in mm, z growing away from the rig.
        pose_deg: Rotation vector of the board in degrees.
    """

    corners_px: Floats
    pose_mm: tuple[float, float, float]
    pose_deg: tuple[float, float, float]


def _still(picture: NDArray[np.floating]) -> Radiance:
    """Spread a grey picture over the colours and lock it: still scenes share one array."""
    grey = np.asarray(picture, dtype=np.float32)
    return np.broadcast_to(grey[..., None], (*grey.shape, 3))


@dataclass(frozen=True, kw_only=True)
class FlatField:
    """An evenly lit field.

    Args:
        field: Window to fill.
        level: Linear light, 0 to 1.
    """

    field: Field = field(default_factory=Field)
    level: float = 0.5

    def __post_init__(self) -> None:
        """Refuse light outside the range of a scene."""
        _check_level(self.level)

    def frame_key(self, t_s: float) -> Hashable:
        """Return a constant: the field never changes."""
        return 0

    def radiance(self, t_s: float) -> Radiance:
        """Return the even picture."""
        return self._picture

    def truth(self, t_s: float) -> FlatTruth:
        """Return the level."""
        return FlatTruth(kind="flat", t_s=t_s, level=self.level)

    @cached_property
    def _picture(self) -> Radiance:
        return np.broadcast_to(np.float32(self.level), self.field.shape)


def _check_level(level: float) -> None:
    if not 0.0 <= level <= 1.0:
        raise ConfigError(
            f"scene light {level} is outside 0 to 1", hint="1 is the brightest white of a scene"
        )


@dataclass(frozen=True, kw_only=True)
class PointSource:
    """A back-lit pinhole on black.

    A pinhole smaller than a pixel lights that pixel by the share of its area, so the
    light sent to the bench is the same however fine the field is sampled.

    Args:
        field: Window to fill.
        diameter_mm: Diameter of the pinhole.
        x_mm: Position on the stage, right of the field's centre.
        y_mm: Position on the stage, below the field's centre.
        level: Linear light of the pinhole, 0 to 1.
    """

    field: Field = field(default_factory=Field)
    diameter_mm: float = 0.1
    x_mm: float = 0.0
    y_mm: float = 0.0
    level: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a pinhole without size and light outside the range."""
        _check_level(self.level)
        if not self.diameter_mm > 0:
            raise ConfigError(
                f"a pinhole of {self.diameter_mm} mm is none", hint="give diameter_mm > 0"
            )

    def frame_key(self, t_s: float) -> Hashable:
        """Return a constant: the pinhole stands still."""
        return 0

    def radiance(self, t_s: float) -> Radiance:
        """Return the pinhole on black."""
        return self._picture

    def truth(self, t_s: float) -> PointTruth:
        """Return centre and diameter in pixels."""
        x_px, y_px = self._centre_px
        return PointTruth(
            kind="point",
            t_s=t_s,
            centre_px=(x_px, y_px),
            diameter_px=self.diameter_mm / self.field.mm_per_px,
        )

    @property
    def _centre_px(self) -> tuple[float, float]:
        x_px, y_px = self.field.to_px(np.array([self.x_mm, self.y_mm]))
        return float(x_px), float(y_px)

    @cached_property
    def _picture(self) -> Radiance:
        radius_px = 0.5 * self.diameter_mm / self.field.mm_per_px
        return _still(self.level * disc_coverage(self.field, self._centre_px, radius_px))


def disc_coverage(field: Field, centre_px: tuple[float, float], radius_px: float) -> Floats:
    """Return for each pixel the share of it that a disc covers, exactly.

    Args:
        field: The pixel grid.
        centre_px: (x, y) of the disc's centre; pixel centres are whole numbers.
        radius_px: Radius of the disc in pixels.

    Returns:
        ``(H, W)`` shares, 0 to 1. Their sum is the disc's area in pixels.
    """
    x = (np.arange(field.width_px + 1) - 0.5 - centre_px[0]) / radius_px
    y = (np.arange(field.height_px + 1) - 0.5 - centre_px[1]) / radius_px
    columns = np.nonzero((x[1:] > -1) & (x[:-1] < 1))[0]
    rows = np.nonzero((y[1:] > -1) & (y[:-1] < 1))[0]
    shares = np.zeros((field.height_px, field.width_px))
    if columns.size and rows.size:
        x_edges = x[columns[0] : columns[-1] + 2]
        y_edges = y[rows[0] : rows[-1] + 2]
        area = _quadrant_area(x_edges[None, :], y_edges[:, None])
        cells = np.diff(np.diff(area, axis=0), axis=1) * radius_px**2
        # Differences of areas leave rounding residues of 1e-16 of the disc.
        shares[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = np.clip(cells, 0, 1)
    return shares


def _quadrant_area(x: NDArray[np.floating], y: NDArray[np.floating]) -> Floats:
    """Area of the unit disc's part with X <= x and Y <= y, in closed form."""
    x, y = np.clip(x, -1, 1), np.clip(y, -1, 1)
    a = np.sqrt(1 - y**2)
    middle = np.clip(x, -a, a)
    # Between -a and a the chord is cut at y; outside, the whole chord counts for y > 0.
    cut = _chord(middle) - _chord(-a) + y * (middle + a)
    outside = 2 * (_chord(np.minimum(x, -a)) - _chord(-1.0))
    outside = outside + 2 * (_chord(np.maximum(x, a)) - _chord(a))
    return np.asarray(cut + np.where(y > 0, outside, 0.0))


def _chord(x: NDArray[np.floating] | float) -> Floats:
    x = np.asarray(x, dtype=np.float64)
    return np.asarray(0.5 * (x * np.sqrt(np.maximum(1 - x**2, 0)) + np.arcsin(x)))


@dataclass(frozen=True, kw_only=True)
class StepWedge:
    """Vertical patches whose light falls by a fixed density step, as a photographic wedge.

    Args:
        field: Window to fill.
        steps: Number of patches.
        density_step: Optical density between neighbours (0.15 halves the light every two).
        level: Linear light of the brightest patch, 0 to 1.
    """

    field: Field = field(default_factory=Field)
    steps: int = 16
    density_step: float = 0.15
    level: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a wedge with fewer than two patches or more than columns."""
        _check_level(self.level)
        if not 2 <= self.steps <= self.field.width_px or not self.density_step > 0:
            raise ConfigError(
                f"a wedge of {self.steps} steps of density {self.density_step} on "
                f"{self.field.width_px} columns cannot be drawn",
                hint="use 2 steps or more, at most one per column, and density_step > 0",
            )

    def frame_key(self, t_s: float) -> Hashable:
        """Return a constant: the wedge stands still."""
        return 0

    def radiance(self, t_s: float) -> Radiance:
        """Return the wedge."""
        return self._picture

    def truth(self, t_s: float) -> WedgeTruth:
        """Return levels and edges of the patches."""
        return WedgeTruth(
            kind="wedge",
            t_s=t_s,
            levels=tuple(float(v) for v in self._levels),
            edges_px=tuple(int(e) for e in self._edges),
        )

    @property
    def _levels(self) -> Floats:
        return np.asarray(self.level * 10.0 ** (-self.density_step * np.arange(self.steps)))

    @property
    def _edges(self) -> NDArray[np.int64]:
        return np.rint(np.linspace(0, self.field.width_px, self.steps + 1)).astype(np.int64)

    @cached_property
    def _picture(self) -> Radiance:
        row = np.repeat(self._levels, np.diff(self._edges))
        return _still(np.broadcast_to(row, (self.field.height_px, self.field.width_px)))


@dataclass(frozen=True, kw_only=True)
class CharucoBoard:
    """A printed ChArUco board held before the rig.

    Args:
        field: Window to fill.
        squares: Chessboard squares (across, down).
        square_mm: Side of a square.
        centre_mm: Position of the board's middle: x right, y down, z away from the rig,
            measured from the middle of the object plane.
        rotation_deg: Rotation vector of the board about its middle.
        distance_mm: From the rig's entrance pupil to the object plane; sets perspective.
        dictionary: Name of the OpenCV marker dictionary.
        white: Linear light of the paper; the background and the ink are fixed shares of it.
    """

    field: Field = field(default_factory=Field)
    squares: tuple[int, int] = (9, 6)
    square_mm: float = 30.0
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    distance_mm: float = 1000.0
    dictionary: str = "DICT_5X5_100"
    white: float = 0.8

    _INK = 0.05
    _WALL = 0.45
    _MARKER_SHARE = 0.75
    _TEXTURE_PX = 64
    _SUPERSAMPLING = 4

    def __post_init__(self) -> None:
        """Refuse unknown dictionaries and light outside the range."""
        import cv2

        _check_level(self.white)
        if not hasattr(cv2.aruco, self.dictionary):
            raise ConfigError(
                f"OpenCV knows no marker dictionary {self.dictionary}",
                hint="use a name such as DICT_5X5_100",
            )

    def frame_key(self, t_s: float) -> Hashable:
        """Return a constant: the board stands still."""
        return 0

    def radiance(self, t_s: float) -> Radiance:
        """Return the board before a grey wall."""
        return self._picture

    def truth(self, t_s: float) -> CharucoTruth:
        """Return the corners in pixels and the pose."""
        across, down = self.squares
        grid = np.stack(np.meshgrid(np.arange(1, across), np.arange(1, down)), -1).reshape(-1, 2)
        return CharucoTruth(
            kind="charuco",
            t_s=t_s,
            corners_px=_apply(self._board_to_px, grid * self.square_mm),
            pose_mm=self.centre_mm,
            pose_deg=self.rotation_deg,
        )

    @cached_property
    def _board_to_px(self) -> Floats:
        """Homography from mm on the board (origin at its top left corner) to pixels."""
        import cv2

        rotation, _ = cv2.Rodrigues(np.deg2rad(np.array(self.rotation_deg)))
        middle = 0.5 * self.square_mm * np.array([*self.squares, 0.0])
        position = np.array(self.centre_mm) + np.array([0.0, 0.0, self.distance_mm])
        plane = np.column_stack([rotation[:, 0], rotation[:, 1], position - rotation @ middle])
        if position[2] <= 0:
            raise ConfigError(
                "the ChArUco board stands behind the rig", hint="raise z or distance_mm"
            )
        focal_px = self.distance_mm / self.field.mm_per_px
        x0, y0 = self.field.to_px(np.zeros(2))
        camera = np.array([[focal_px, 0, x0], [0, focal_px, y0], [0, 0, 1]])
        return np.asarray(camera @ plane, dtype=np.float64)

    @cached_property
    def _picture(self) -> Radiance:
        import cv2

        across, down = self.squares
        board = cv2.aruco.CharucoBoard(
            (across, down),
            self.square_mm,
            self._MARKER_SHARE * self.square_mm,
            cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary)),
        )
        px, fine, side = self._TEXTURE_PX, self._SUPERSAMPLING, self.square_mm
        print_out = board.generateImage((across * px, down * px), marginSize=0)
        ink = self.white * np.where(print_out > 127, 1.0, self._INK).astype(np.float32)
        texel = np.array([[px, 0, -side / 2], [0, px, -side / 2], [0, 0, side]])
        finer = np.array([[fine, 0, (fine - 1) / 2], [0, fine, (fine - 1) / 2], [0, 0, 1.0]])
        picture = cv2.warpPerspective(
            ink,
            finer @ self._board_to_px @ np.linalg.inv(texel),
            (self.field.width_px * fine, self.field.height_px * fine),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=self._WALL * self.white,
        )
        size = (self.field.width_px, self.field.height_px)
        return _still(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _apply(homography: Floats, points: NDArray[np.floating]) -> Floats:
    mapped = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:])
