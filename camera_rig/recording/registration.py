"""Where the privacy camera has what the side camera has: one homography."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from camera_rig.errors import ConfigError
from camera_rig.recording._files import read_json

__all__ = ["CropBox", "Registration", "cut_both"]

Matrix = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class Registration(BaseModel):
    """A homography from side to privacy pixels.

    Args:
        homography: 3×3, row by row, for (x, y, 1) in px.
        calibration: Identifier of the calibration it is from.
        error_px: Its stated error, px RMS on the privacy camera.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    homography: tuple[tuple[float, float, float], ...]
    calibration: str = ""
    error_px: float = 0.0

    @model_validator(mode="after")
    def _invertible(self) -> Registration:
        matrix = self.matrix
        if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 1e-9:
            raise ValueError("the homography is not an invertible 3x3 matrix")
        return self

    @property
    def matrix(self) -> Matrix:
        """The homography as an array."""
        return np.array(self.homography, dtype=np.float64)

    @classmethod
    def of(cls, matrix: Matrix, calibration: str = "") -> Registration:
        """Wrap a 3×3 array."""
        rows = tuple((float(r[0]), float(r[1]), float(r[2])) for r in matrix)
        return cls(homography=rows, calibration=calibration)

    @classmethod
    def load(cls, path: Path) -> Registration:
        """Read a JSON file with a ``homography``, as ``rig calibrate registration`` writes.

        Raises:
            ConfigError: It holds none.
        """
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise ConfigError(
                f"{path} is no registration: {error}", hint="make one: `rig calibrate run`"
            ) from error


@dataclass(frozen=True, slots=True)
class CropBox:
    """A square on the side frame: centre and side length, px."""

    x_px: float
    y_px: float
    size_px: float

    def outside_share(self, width_px: int, height_px: int) -> float:
        """Return the share of the square that lies outside a frame."""
        half = self.size_px / 2
        inside_x = min(self.x_px + half, width_px) - max(self.x_px - half, 0)
        inside_y = min(self.y_px + half, height_px) - max(self.y_px - half, 0)
        return 1.0 - max(0.0, inside_x) * max(0.0, inside_y) / self.size_px**2


def cut_both(
    privacy: Pixels, side: Pixels, box: CropBox, registration: Registration, size_px: int
) -> tuple[Pixels, Pixels]:
    """Return the same square of the scene from both frames, ``size_px`` on a side."""
    import cv2

    scale = size_px / box.size_px
    # Pixel centres are whole numbers, so the corner of a pixel lies half a pixel off.
    shift_x = size_px / 2 - 0.5 - scale * box.x_px
    shift_y = size_px / 2 - 0.5 - scale * box.y_px
    to_crop = np.array([[scale, 0, shift_x], [0, scale, shift_y], [0, 0, 1.0]])
    mode = cv2.INTER_CUBIC if scale >= 1 else cv2.INTER_LINEAR
    if scale < 0.5:
        blur = 0.4 / scale
        side, privacy = (cv2.GaussianBlur(px, (0, 0), blur) for px in (side, privacy))
    size = (size_px, size_px)
    cut_side = cv2.warpPerspective(side, to_crop, size, flags=mode)
    to_crop = to_crop @ np.linalg.inv(registration.matrix)
    return cv2.warpPerspective(privacy, to_crop, size, flags=mode), cut_side
