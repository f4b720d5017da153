"""What to change on the mirror for a wanted change of wavefront."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from camera_rig.mirror.influence import InfluenceMatrix
from camera_rig.optics import Mode

__all__ = ["Corrector"]

Vector = npt.NDArray[np.float64]


class Corrector:
    """From a wanted change of wavefront to a change of response, within limits.

    Modes asked for weigh fully, the others little: forty electrodes make no pure Noll 11,
    so what cannot be had in one mode must not spoil the rest.

    Args:
        matrix: What each electrode does.
        asked: Modes with a wanted value.
        other_weight: Weight of the modes nobody asked for (dimensionless).
    """

    def __init__(
        self, matrix: InfluenceMatrix, asked: tuple[Mode, ...], other_weight: float = 0.1
    ) -> None:
        self.matrix = matrix
        listed = [mode for mode in matrix.modes if mode[0] >= 2]
        weight = np.array([1.0 if mode in asked else other_weight for mode in listed])
        self.listed = tuple(listed)
        self._weight = weight
        self._rows = matrix.rows(listed) * weight[:, None]

    def change(self, wanted_um: Vector, response: Vector, low: Vector, high: Vector) -> Vector:
        """Return the new response for a wanted change of wavefront (µm RMS, ``listed``)."""
        from scipy.optimize import lsq_linear

        # A little caution: patterns that do almost nothing must not use up the range.
        caution = 3e-3 * float(np.linalg.norm(self._rows, 2))
        rows = np.vstack([self._rows, caution * np.eye(len(response))])
        aim = np.concatenate([self._weight * wanted_um, np.zeros(len(response))])
        found = lsq_linear(rows, aim, bounds=(low - response - 1e-9, high - response + 1e-9))
        return np.asarray(response + found.x)
