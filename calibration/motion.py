"""How far apart two cameras' stamps are, from something that moves before both.

Both films are reduced to coarse maps of light, a few dozen across. What the side camera
sees at a moment is what the privacy camera sees a little earlier or later, elsewhere and
brighter or darker: delay, displacement (affine) and gain are fitted together, over place and
time. Any motion serves that does not repeat itself within the range of the search.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.switches import linear_light
from camera_rig.contracts import Frame

__all__ = ["Delay", "Film", "coarse_map", "find_delay", "follow_delay", "stretches"]

Vector = npt.NDArray[np.float64]
Maps = npt.NDArray[np.floating]

COLUMNS, ROWS = 48, 32
SEARCH_S = 0.2
_STEP_S = 0.008
_FRAMES_APART_S = 0.06
_RIM = 3
_ROUNDS = 10
_BROAD_PX = 3.0
_STARTS, _STARTS_APART_S = 3, 0.03


@dataclass(frozen=True, eq=False)
class Film:
    """Coarse maps of light over time.

    Args:
        stamps_s: Middle of each exposure, s.
        maps: ``(frames, rows, columns)`` of linear light.
    """

    stamps_s: Vector
    maps: Maps

    def part(self, start_s: float, stop_s: float) -> Film:
        """Return the frames stamped within a span (s)."""
        kept = (self.stamps_s >= start_s) & (self.stamps_s < stop_s)
        return Film(self.stamps_s[kept], self.maps[kept])

    def blurred(self, width_px: float) -> Film:
        """Return the maps blurred by a Gaussian of that standard deviation, coarse px."""
        from scipy.ndimage import gaussian_filter

        return Film(self.stamps_s, gaussian_filter(self.maps, (0.0, width_px, width_px)))

    def smoothed(self) -> Film:
        """Return each frame averaged with its neighbours, 1-4-6-4-1, stamps as well.

        Noise that is interpolated is least half-way between frames, and a fit would lean
        there: by milliseconds. Without its fastest part, noise is the same everywhere.
        """
        count = len(self.stamps_s) - 4
        shares = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
        maps = sum(w * self.maps[k : k + count] for k, w in enumerate(shares))
        stamps_s = sum(w * self.stamps_s[k : k + count] for k, w in enumerate(shares))
        return Film(np.asarray(stamps_s), np.asarray(maps))


@dataclass(frozen=True, eq=False)
class Delay:
    """One stretch of film of both cameras laid over each other.

    Args:
        delay_s: Side stamp minus privacy stamp of one moment, s.
        sigma_s: One standard deviation of it by the fit alone, s.
        explained: Share of the side camera's changes that the fit explains, 0 … 1.
        rival: Least misfit of delays elsewhere over that of the best: near 1, the motion
            repeats itself and the delay is ambiguous.
        contrast: Standard deviation of the changes over that between neighbours in time.
        readout_s: By how much the side camera reads out slower, top to bottom, s.
        affine: Displacement, coarse pixels: constant, along x, along y, for x then y.
    """

    delay_s: float
    sigma_s: float
    explained: float
    rival: float
    contrast: float
    readout_s: float
    affine: Vector


def coarse_map(frame: Frame) -> Maps:
    """Return the light of a frame on the coarse grid, smoothed so that it can be moved."""
    import cv2

    pixels = frame.pixels[..., 1] if frame.pixels.ndim == 3 else frame.pixels
    light = linear_light(pixels[::2, ::2], linear=frame.linear).astype(np.float32)
    small = cv2.resize(light, (2 * COLUMNS, 2 * ROWS), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 1.6)
    return np.asarray((smooth[::2, ::2] + smooth[1::2, 1::2]) / 2.0, dtype=np.float32)


def find_delay(privacy: Film, side: Film) -> Delay:
    """Lay two films of about the same time over each other, from nothing.

    Args:
        privacy: Film of the privacy camera.
        side: Film of the side camera.
    """
    # Coarser first: cameras that look past each other agree on the large things.
    broad = _Laid(privacy.blurred(_BROAD_PX), side.blurred(_BROAD_PX))
    delays = np.arange(-SEARCH_S, SEARCH_S + _STEP_S / 2, _STEP_S)
    misfit = np.array([broad.misfit(np.array([tau, *np.zeros(7)])) for tau in delays])
    starts: list[float] = []
    for place in np.argsort(misfit):
        if all(abs(delays[place] - known) > _STARTS_APART_S for known in starts):
            starts.append(float(delays[place]))
    tried = [_refined(broad, start, np.zeros(6), free=8)[0] for start in starts[:_STARTS]]
    near = min(tried, key=broad.misfit)
    laid = _Laid(privacy, side)
    theta, sigma_s = _refined(laid, float(near[0]), near[2:], free=8)
    return _delay(laid, theta, sigma_s, _rival(privacy, side, theta))


def follow_delay(privacy: Film, side: Film, known: Delay) -> Delay:
    """Find the delay of a shorter stretch, of which the displacement is known."""
    laid = _Laid(privacy, side)
    theta, sigma_s = _refined(laid, known.delay_s, known.affine, free=1)
    return _delay(laid, theta, sigma_s, known.rival)


def _refined(laid: _Laid, delay_s: float, affine: Vector, *, free: int) -> tuple[Vector, float]:
    """Return (delay, readout, affine) by damped Gauss-Newton on the first ``free``; sigma, s."""
    theta, damping = np.concatenate([[delay_s, 0.0], affine]), 1e-3
    cost, sigma_s = laid.misfit(theta), np.inf
    for _ in range(_ROUNDS):
        residual, columns = laid.linearised(theta)
        columns = columns[:free]
        normal = columns @ columns.T
        scale = np.diag(np.diag(normal))
        sigma_s = float(np.sqrt(np.linalg.inv(normal + 1e-9 * scale)[0, 0] * np.var(residual)))
        step = np.zeros_like(theta)
        for _ in range(_ROUNDS):
            step[:free] = np.linalg.solve(normal + damping * scale, columns @ residual)
            better = laid.misfit(theta + step)
            if better <= cost:
                break
            damping *= 10.0
        else:
            break
        theta, cost, damping = theta + step, better, damping / 10.0
        if abs(step[0]) < 1e-6:
            break
    return theta, sigma_s


def _rival(privacy: Film, side: Film, theta: Vector) -> float:
    """Return the least misfit further than two frames away over that of the answer."""
    thin = _Laid(privacy, side, every=3)
    delays = np.arange(-SEARCH_S, SEARCH_S, 2.0 * _STEP_S)
    away = delays[np.abs(delays - theta[0]) > _FRAMES_APART_S]
    there = min(thin.misfit(np.array([tau, *theta[1:]])) for tau in away)
    return float(there / max(thin.misfit(theta), 1e-9))


def _delay(laid: _Laid, theta: Vector, sigma_s: float, rival: float) -> Delay:
    return Delay(
        delay_s=float(theta[0]),
        sigma_s=sigma_s,
        explained=1.0 - laid.misfit(theta),
        rival=rival,
        contrast=laid.contrast,
        readout_s=float(theta[1]),
        affine=theta[2:].copy(),
    )


def stretches(start_s: float, stop_s: float, length_s: float) -> list[tuple[float, float]]:
    """Cut a span (s) into equal parts about ``length_s`` long."""
    count = max(1, round((stop_s - start_s) / length_s))
    edges = np.linspace(start_s, stop_s, count + 1)
    return [(float(a), float(b)) for a, b in itertools.pairwise(edges)]


class _Laid:
    """Two films on one time axis; what is left between them for given parameters."""

    def __init__(self, privacy: Film, side: Film, every: int = 1) -> None:
        from scipy.interpolate import CubicSpline

        noise = float(np.std(np.diff(side.maps, n=4, axis=0))) / np.sqrt(70.0)
        privacy, side = privacy.smoothed(), side.smoothed()
        self._spline = CubicSpline(privacy.stamps_s, privacy.maps.astype(np.float64), axis=0)
        self._slope = self._spline.derivative()
        low, high = privacy.stamps_s[0] + SEARCH_S, privacy.stamps_s[-1] - SEARCH_S
        kept = (side.stamps_s >= low) & (side.stamps_s <= high)
        self.stamps_s = side.stamps_s[kept][::every]
        inner = side.maps[kept][::every, _RIM:-_RIM, _RIM:-_RIM].astype(np.float64)
        self._side = inner - inner.mean(axis=0)
        self._total = float(np.sum(self._side**2)) + 1e-30
        self.contrast = float(np.std(self._side)) / max(noise, 1e-12)
        rows = np.arange(_RIM, ROWS - _RIM)
        columns = np.arange(_RIM, COLUMNS - _RIM)
        self._y, self._x = np.meshgrid(
            (rows - (ROWS - 1) / 2) / ROWS, (columns - (COLUMNS - 1) / 2) / COLUMNS, indexing="ij"
        )
        self._places = np.stack(np.meshgrid(rows, columns, indexing="ij")).astype(float)

    def misfit(self, theta: Vector) -> float:
        """Return the share of the side camera's changes that is left unexplained."""
        if theta[1]:
            seen, _ = self._seen(theta)
        else:  # without the slope in time: half of the work
            seen = self._moved(self._spline(self.stamps_s - theta[0]), theta[2:])
            seen -= seen.mean(axis=0)
        gain = float(np.sum(seen * self._side) / (np.sum(seen**2) + 1e-30))
        return float(np.sum((self._side - gain * seen) ** 2) / self._total)

    def linearised(self, theta: Vector) -> tuple[Vector, Vector]:
        """Return (what is left, its derivatives by each parameter), the gain fitted along."""
        affine = theta[2:]
        seen, slope = self._seen(theta)
        right, down = np.gradient(self._spline(self.stamps_s - theta[0]), axis=(2, 1))
        right, down = self._moved(right, affine), self._moved(down, affine)
        by_place = [np.ones_like(self._x), self._x, self._y]
        parts = [
            -slope,
            slope * self._y,
            *(right * share for share in by_place),
            *(down * share for share in by_place),
        ]
        gain = float(np.sum(seen * self._side) / (np.sum(seen**2) + 1e-30))
        columns = np.array([gain * (part - part.mean(axis=0)).ravel() for part in parts])
        residual = (self._side - gain * seen).ravel()
        unit = seen.ravel() / (np.linalg.norm(seen) + 1e-30)
        columns -= (columns @ unit)[:, None] * unit
        return residual, columns

    def _seen(self, theta: Vector) -> tuple[Vector, Vector]:
        """Return (the privacy film as the side camera should have it, its slope in time)."""
        at = self.stamps_s - theta[0]
        slope = self._moved(self._slope(at), theta[2:])
        # Rows further down are read later: by theta[1] from top to bottom.
        seen = self._moved(self._spline(at), theta[2:]) + theta[1] * self._y * slope
        return seen - seen.mean(axis=0), slope

    def _moved(self, maps: Vector, affine: Vector) -> Vector:
        """Return maps looked up at displaced places, rim left out."""
        from scipy.ndimage import map_coordinates

        if not affine.any():
            return np.array(maps[:, _RIM:-_RIM, _RIM:-_RIM])
        rows, columns = self._places
        right = affine[0] + affine[1] * self._x + affine[2] * self._y
        down = affine[3] + affine[4] * self._x + affine[5] * self._y
        places = np.stack([rows + down, columns + right])
        return np.stack([map_coordinates(m, places, order=3, mode="nearest") for m in maps])
