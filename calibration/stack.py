"""A stack of point-source pictures at known mirror offsets: the input of a retrieval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients, Mode, Pupil, Unit

__all__ = ["PsfStack"]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class PsfStack:
    """Pictures of one point at several known offsets of the mirror, with their noise.

    Rows grow with y: turn pictures whose row 0 is at the top upside down first.
    The variance of a pixel is ``floor_e2 + shot * max(expected, 0)``, so averages and
    exposure brackets are told by numbers below one electron.

    Args:
        images_e: ``(planes, size, size)``, dark-subtracted, electrons.
        diversity: Known offset of each plane from the shape looked for.
        pupil: The optical system, with the one wavelength of these pictures.
        floor_e2: Variance without light, electrons squared; a number or one per pixel.
        shot: Shot noise, electrons squared per electron: 1 for one picture, 1/n for
            the mean of n.
        valid: False where a pixel is saturated or defective; None means all are good.
    """

    images_e: Floats
    diversity: tuple[Coefficients, ...]
    pupil: Pupil
    floor_e2: float | Floats
    shot: float | Floats = 1.0
    valid: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Refuse what does not fit together, and lock the pictures."""
        images = np.asarray(self.images_e)
        if images.ndim != 3 or images.shape[1] != images.shape[2] or images.shape[1] % 2:
            raise ConfigError(
                f"a PSF stack must be (planes, size, size) with an even size, got {images.shape}",
                hint="cut square windows of an even number of pixels around the spot",
            )
        if len(self.diversity) != len(images):
            raise ConfigError(
                f"{len(images)} planes but {len(self.diversity)} known offsets",
                hint="give one diversity per plane; the plane at rest has none: Coefficients({})",
            )
        if len(self.pupil.wavelengths_nm) != 1:
            raise ConfigError(
                f"a stack has one wavelength, the pupil has {self.pupil.wavelengths_nm}",
                hint="take the pictures of one colour channel",
            )
        if not np.isfinite(images).all():
            raise ConfigError("a PSF picture holds NaN", hint="check the dark subtraction")

    @property
    def planes(self) -> int:
        """Number of pictures."""
        return len(self.images_e)

    @property
    def size(self) -> int:
        """Width of the window, px."""
        return int(self.images_e.shape[1])

    @property
    def wavelength_nm(self) -> float:
        """Wavelength of the pictures, nm."""
        return self.pupil.wavelengths_nm[0]

    @property
    def peak_snr(self) -> float:
        """Brightest valid pixel over its noise, median over the planes (dimensionless)."""
        good = np.where(self._mask(), self.images_e, 0.0)
        noise = np.sqrt(self._map(self.floor_e2) + self._map(self.shot) * np.maximum(good, 0.0))
        peaks = good.reshape(self.planes, -1).argmax(axis=1)
        ratios = (good / noise).reshape(self.planes, -1)[np.arange(self.planes), peaks]
        return float(np.median(ratios))

    def diversity_modes(self) -> tuple[Mode, ...]:
        """Return every mode that some plane's offset uses."""
        found = {mode for offset in self.diversity for mode, v in offset.values.items() if v}
        return tuple(sorted(found))

    def diversity_waves(self, modes: tuple[Mode, ...]) -> npt.NDArray[np.float64]:
        """Return the offsets as ``(planes, modes)``, waves RMS at this wavelength."""
        target = {"unit": Unit.WAVES_RMS, "wavelength_nm": self.wavelength_nm}
        rows = [c.to(**target).array(modes) for c in self.diversity]  # type: ignore[arg-type]
        return np.array(rows).reshape(self.planes, len(modes))

    def variance_e2(self, expected_e: Floats) -> Floats:
        """Return the variance of each pixel for an expected picture, electrons squared."""
        return self._map(self.floor_e2) + self._map(self.shot) * np.maximum(expected_e, 0.0)

    def only(self, planes: list[int]) -> PsfStack:
        """Return the stack with some of its planes, for held-out checks."""

        def part(values: Any) -> Any:
            wide = isinstance(values, np.ndarray) and values.ndim == 3
            return values[planes] if wide else values

        return replace(
            self,
            images_e=self.images_e[planes],
            diversity=tuple(self.diversity[i] for i in planes),
            floor_e2=part(self.floor_e2),
            shot=part(self.shot),
            valid=part(self.valid),
        )

    def binned(self) -> PsfStack:
        """Return the stack with squares of four pixels added up.

        Finely sampled data lose nothing by it and fit four times faster.
        """
        from calibration.spot import bin_pixels

        shot = bin_pixels(self._map(self.shot), 2) / 4.0
        return PsfStack(
            images_e=bin_pixels(np.where(self._mask(), self.images_e, 0.0), 2),
            diversity=self.diversity,
            pupil=replace(self.pupil, pixel_um=2.0 * self.pupil.pixel_um),
            floor_e2=bin_pixels(self._map(self.floor_e2), 2),
            shot=shot,
            valid=bin_pixels(self._mask().astype(np.float64), 2) > 3.5,
        )

    def _mask(self) -> npt.NDArray[np.bool_]:
        if self.valid is None:
            return np.ones(self.images_e.shape, dtype=np.bool_)
        return np.broadcast_to(self.valid, self.images_e.shape)

    def _map(self, values: float | Floats) -> Floats:
        return np.broadcast_to(np.asarray(values, dtype=np.float64), self.images_e.shape)
