"""The unknowns of a retrieval: which there are, where they stand, what is known before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.forward import PointSource
from calibration.stack import PsfStack
from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients, Mode, Order, Unit, modes

__all__ = ["RetrievalOptions", "Unknowns", "even_part", "gradient_matrices"]

Vector = npt.NDArray[np.float64]

TILTS: tuple[Mode, Mode] = ((1, 1), (1, -1))
PAPER_MODES = modes(Order.NOLL, 4, 15)


@dataclass(frozen=True)
class RetrievalOptions:
    """What to fit beside the shape, and how hard to try.

    Always free, per plane: tilt, flux, background. A sigma of infinity means that
    nothing is known before; 0 would fix the value, so use the ``fit_*`` switch instead.

    Args:
        modes: ``(n, m)`` of the shape looked for; no piston, no tilts.
        fit_gain: One common gain of all known offsets (1 = as stated).
        gain_sigma: What is known of it before, one standard deviation (dimensionless).
        gain_start: Value expected before (dimensionless).
        fit_scale: Pupil diameter over its nominal value.
        scale_sigma: What is known of it before (dimensionless).
        fit_decentre: Shift of the mirror against the pupil, seen by offsets of third
            and higher radial order.
        decentre_sigma: What is known of it before, pupil radii.
        fit_source: Diameter of the source instead of the value in ``source``.
        offset_modes: Modes in which each plane may differ freely from its stated
            offset, because a mirror's open loop errs mode by mode.
        offset_sigma_waves: Size of that error, waves RMS a mode.
        reference_plane: The plane that has no such error, by definition: the shape
            is that plane's. None spreads the error over all.
        source: Size of source and pixel.
        known: Wavefront that is there in every plane beside the shape, and not fitted.
        start: A shape known to be near; the fit begins there and stays in its valley, so
            its sign is known too.
        shape_sigma_waves: How near, one standard deviation a mode, waves RMS.
        bins: Pixel bins from coarse to fine, camera px.
        starts: Most starts to try before giving up.
        accept_chi2: Reduced chi-squared above which a fit counts as failed.
        seed: Seed of the random starts.
    """

    modes: tuple[Mode, ...] = PAPER_MODES
    fit_gain: bool = False
    gain_sigma: float = math.inf
    gain_start: float = 1.0
    fit_scale: bool = False
    scale_sigma: float = math.inf
    fit_decentre: bool = False
    decentre_sigma: float = 0.1
    fit_source: bool = False
    offset_modes: tuple[Mode, ...] = ()
    offset_sigma_waves: float = 0.03
    reference_plane: int | None = None
    source: PointSource = field(default_factory=PointSource)
    known: Coefficients | None = None
    start: Coefficients | None = None
    shape_sigma_waves: float = math.inf
    bins: tuple[int, ...] = (16, 8, 4, 2, 1)
    starts: int = 12
    accept_chi2: float = 1.3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted."""
        bad = [mode for mode in (*self.modes, *self.offset_modes) if mode[0] < 2]
        if bad or not self.modes:
            raise ConfigError(
                f"modes {bad or 'none'} cannot be fitted as a shape",
                hint="tilts are fitted per plane anyway and piston is invisible; start at Noll 4",
            )
        if self.bins[-1] != 1:
            raise ConfigError("the last bin must be 1 px", hint="for example (16, 8, 4, 2, 1)")


class Unknowns:
    """Layout of the parameter vector: shape, common nuisances, then plane by plane.

    Args:
        stack: The pictures.
        options: What is fitted.
    """

    def __init__(self, stack: PsfStack, options: RetrievalOptions) -> None:
        self.options = options
        self.planes = stack.planes
        wanted = {*options.modes, *TILTS, *options.offset_modes, *stack.diversity_modes()}
        if options.known is not None:
            wanted |= {mode for mode, value in options.known.values.items() if value}
        wanted.discard((0, 0))
        if options.fit_decentre:
            wanted = _with_gradients(wanted)
        # Tilts first, then the shape, so that their derivatives are slices.
        rest = sorted(wanted - {*TILTS, *options.modes})
        self.modes: tuple[Mode, ...] = (*TILTS, *options.modes, *rest)
        self.diversity = stack.diversity_waves(((0, 0), *self.modes))[:, 1:]
        self.shape = slice(0, len(options.modes))
        self.near = np.zeros(len(options.modes))
        if options.start is not None:
            near = options.start.to(unit=Unit.WAVES_RMS, wavelength_nm=stack.wavelength_nm)
            self.near = np.array([near.values.get(mode, 0.0) for mode in options.modes])
        self.known = np.zeros(len(self.modes))
        if options.known is not None:
            known = options.known.to(unit=Unit.WAVES_RMS, wavelength_nm=stack.wavelength_nm)
            self.known = np.array([known.values.get(mode, 0.0) for mode in self.modes])
        self._place_all()

    def _place_all(self) -> None:
        options, at = self.options, len(self.options.modes)
        self.gain = self.scale = self.source = None
        self.decentre: slice | None = None
        if options.fit_gain:
            self.gain, at = at, at + 1
        if options.fit_scale:
            self.scale, at = at, at + 1
        if options.fit_source:
            self.source, at = at, at + 1
        if options.fit_decentre:
            self.decentre, at = slice(at, at + 2), at + 2
        self.shared = at
        self.tilt: list[slice] = []
        self.flux: list[int] = []
        self.background: list[int] = []
        self.offset: list[slice] = []
        for plane in range(self.planes):
            self.tilt.append(slice(at, at + 2))
            self.flux.append(at + 2)
            self.background.append(at + 3)
            count = 0 if plane == options.reference_plane else len(options.offset_modes)
            self.offset.append(slice(at + 4, at + 4 + count))
            at += 4 + count
        self.count = at
        self.offset_places = [self.modes.index(mode) for mode in options.offset_modes]
        self.shape_places = slice(2, 2 + len(options.modes))

    def own(self, plane: int) -> slice:
        """Return where the parameters of one plane stand."""
        return slice(self.tilt[plane].start, self.offset[plane].stop)

    def blank(self) -> Vector:
        """Return parameters of no aberration: gain and scale 1, everything else 0."""
        theta = np.zeros(self.count)
        if self.gain is not None:
            theta[self.gain] = self.options.gain_start
        if self.scale is not None:
            theta[self.scale] = 1.0
        if self.source is not None:
            theta[self.source] = max(self.options.source.diameter_px, 0.5)
        return theta

    def prior(self) -> tuple[Vector, Vector]:
        """Return (expected value, one over variance) of every parameter."""
        options, mean = self.options, self.blank()
        mean[self.shape] = self.near
        weight = np.zeros(self.count)
        weight[self.shape] = 1.0 / options.shape_sigma_waves**2
        if self.gain is not None:
            weight[self.gain] = 1.0 / options.gain_sigma**2
        if self.scale is not None:
            weight[self.scale] = 1.0 / options.scale_sigma**2
        if self.decentre is not None:
            weight[self.decentre] = 1.0 / options.decentre_sigma**2
        for offset in self.offset:
            weight[offset] = 1.0 / options.offset_sigma_waves**2
        return mean, weight

    def waves(self, theta: Vector, plane: int) -> Vector:
        """Return the whole wavefront of a plane, waves RMS in the order of ``modes``."""
        total = self.gain_of(theta) * (self.moved(theta) @ self.diversity[plane])
        total += self.known
        total[:2] += theta[self.tilt[plane]]
        total[self.shape_places] += theta[self.shape]
        if self.offset[plane].stop > self.offset[plane].start:
            total[self.offset_places] += theta[self.offset[plane]]
        return np.asarray(total)

    def moved(self, theta: Vector) -> Vector:
        """Return the matrix that carries an offset from the mirror to the shifted pupil."""
        if self.decentre is None:
            return np.eye(len(self.modes))
        gx, gy = gradient_matrices(self.modes)
        dx, dy = theta[self.decentre]
        step = dx * gx + dy * gy
        total, term = np.eye(len(self.modes)), np.eye(len(self.modes))
        # The Taylor series of a polynomial ends by itself.
        for k in range(1, max(n for n, _ in self.modes) + 1):
            term = term @ step / k
            total = total + term
        return total

    def gain_of(self, theta: Vector) -> float:
        """Return the common gain of the offsets (dimensionless)."""
        return self.options.gain_start if self.gain is None else float(theta[self.gain])

    def scale_of(self, theta: Vector) -> float:
        """Return pupil diameter over nominal (dimensionless)."""
        return 1.0 if self.scale is None else float(theta[self.scale])

    def diameter_of(self, theta: Vector) -> float:
        """Return the diameter of the source, px."""
        if self.source is None:
            return self.options.source.diameter_px
        return max(float(theta[self.source]), 0.0)

    def directions(self, theta: Vector, plane: int) -> tuple[list[int], Vector]:
        """Return (parameters, coefficient directions) of gain and decentre for a plane."""
        places: list[int] = []
        rows: list[Any] = []
        offset = self.moved(theta) @ self.diversity[plane]
        if self.gain is not None:
            places.append(self.gain)
            rows.append(offset)
        if self.decentre is not None:
            for at, matrix in zip(
                range(self.decentre.start, self.decentre.stop),
                gradient_matrices(self.modes),
                strict=True,
            ):
                places.append(at)
                rows.append(self.gain_of(theta) * (matrix @ offset))
        return places, np.array(rows).reshape(len(rows), len(self.modes))


def even_part(listed: tuple[Mode, ...]) -> npt.NDArray[np.bool_]:
    """Return True for modes of even radial order: one plane does not know their sign."""
    return np.array([n % 2 == 0 for n, _ in listed])


@lru_cache(maxsize=16)
def gradient_matrices(listed: tuple[Mode, ...]) -> tuple[Vector, Vector]:
    """Return (d/dx, d/dy) as matrices on coefficients, per pupil radius; piston is dropped."""
    from camera_rig.optics import chebyshev, zernike

    parts = chebyshev.tensor(listed)
    degree = parts.shape[-1] - 1
    line = np.linspace(-0.95, 0.95, 4 * degree + 9)
    x, y = (g.ravel() for g in np.meshgrid(line, line))
    inside = np.hypot(x, y) < 1.0
    x, y = x[inside], y[inside]
    tx, ty = chebyshev.matrix(x, degree), chebyshev.matrix(y, degree)
    sx, sy = chebyshev.slope_matrix(x, degree), chebyshev.slope_matrix(y, degree)
    full = ((0, 0), *listed)
    basis = zernike.basis(full, np.hypot(x, y), np.arctan2(y, x)).T
    along_x = np.einsum("pa,jab,pb->pj", ty, parts, sx, optimize=True)
    along_y = np.einsum("pa,jab,pb->pj", sy, parts, tx, optimize=True)
    solve = np.linalg.pinv(basis)
    gx, gy = (solve @ along_x)[1:], (solve @ along_y)[1:]
    gx[np.abs(gx) < 1e-9], gy[np.abs(gy) < 1e-9] = 0.0, 0.0
    return gx, gy


def _with_gradients(wanted: set[Mode]) -> set[Mode]:
    """Add every mode below the highest radial order: derivatives fall into them."""
    top = max(n for n, _ in wanted)
    every = {(n, m) for n in range(1, top) for m in range(-n, n + 1, 2)}
    return wanted | every
