"""The retrievals of an influence run: rest, pokes, pattern and sweep.

A poked mirror is near its rest, so one plane and one start are enough, and the fits are
quick. Now and then one slides into the next valley; its chi-squared then stands far above
that of all others, and it is fitted again from where its partner says it should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration import stacks
from calibration.loop import Sweep
from calibration.point_camera import pupil_of
from calibration.procedure import Context
from calibration.psf import bench_options, honest, source_px
from calibration.retrieval import Retrieval, retrieve
from calibration.stack import PsfStack
from calibration.stacks import DEFOCUS
from calibration.unknowns import RetrievalOptions
from camera_rig.mirror.creep import CreepModel, fit_creep
from camera_rig.optics import Coefficients, Mode, Order, Pupil, Unit, modes

__all__ = ["BIAS_WAVES", "WAVE_UM", "PokeFits", "Pokes"]

Vector = npt.NDArray[np.float64]

WAVE_UM = 0.55
BIAS_WAVES = 1.0
"""Defocus under every picture, waves RMS: it tells the signs of the even modes."""
LOST = 2.0
"""Chi-squared over the usual one above which a fit lost its way."""
LOST_ALONG = 10.0
"""The same along a sweep, where shapes are large and fit less well."""
ASIDE = (0.0, 0.1, -0.1, 0.2, -0.2)
"""Where else to begin a lost fit of a sweep, waves of defocus from the picture before."""
RIGHT_CHI2 = 10.0
"""Chi-squared of a strong shape below which it is the right one."""
ASIDE_STRONG = (0.15, -0.15, 0.3, -0.3, 0.5, -0.5, 0.8, -0.8)
"""Where else to look for a strong shape, waves of defocus from the foretold."""
AGAIN: tuple[tuple[int, ...], ...] = ((1,), (2, 1), (4, 2, 1))
"""Bins of the further attempts at a lost fit."""
IN_VAIN = 6
"""Lost fits in a row that nothing brought back: it is the model that does not fit."""
LOOSE = modes(Order.NOLL, 4, 10)
"""Modes left free along the sweep."""


@dataclass(frozen=True, eq=False)
class Pokes:
    """What the electrodes do, one column each; rows are tilts first.

    Args:
        um_per_volt: µm RMS per normalised volt.
        sigma_um: Its standard deviation (0 for tilts).
        lost: Electrodes of which neither picture fits like the others.
        middle: Shape in the middle of the last pokes, waves RMS: glass creeps meanwhile.
        chi2: Usual reduced chi-squared of a picture.
    """

    um_per_volt: Vector
    sigma_um: Vector
    lost: tuple[int, ...]
    middle: Vector
    chi2: float


class PokeFits:
    """The retrievals of one influence run.

    Args:
        context: The run.
        listed: Modes fitted.
        pinhole_mm: Diameter of the pinhole.
    """

    def __init__(self, context: Context, listed: tuple[Mode, ...], pinhole_mm: float) -> None:
        self.listed = listed
        self.pupil: Pupil = pupil_of(context)
        self.source = stacks.point_of(source_px(context, pinhole_mm), self.pupil)
        self.px_per_um = 2.0 * self.pupil.pixels_per_slope_um

    def rest(self, data: Mapping[str, Any]) -> Retrieval:
        """Retrieve the rest shape from planes with the bias down, up and away."""
        um = WAVE_UM * BIAS_WAVES
        stack = stacks.unpack(data, [{DEFOCUS: -um}, {DEFOCUS: um}, {}], self.pupil)
        options = bench_options(self.listed, reference=2, source=self.source)
        return retrieve(stack, options)

    def one(
        self, data: Mapping[str, Any], near: Vector, defocus_um: float, plane: int
    ) -> Retrieval:
        """Retrieve one plane that carries the bias, starting near a known shape (waves)."""
        return retrieve(self._plane(data, defocus_um, plane), self._tracking(near))

    def strong(self, data: Mapping[str, Any], plane: int, near: Vector) -> Retrieval:
        """Retrieve one plane whose shape (waves, bias included) was foretold.

        Far from rest a foretold shape may be off by a valley or two of defocus.
        """
        alone = self._plane(data, 0.0, plane)
        best = retrieve(alone, self._tracking(near))
        for aside in ASIDE_STRONG:
            if best.chi2 <= RIGHT_CHI2:
                break
            start = near + aside * self._focus(self.listed)
            best = min(best, retrieve(alone, self._tracking(start)), key=lambda one: one.chi2)
        return best

    def pokes(
        self,
        data: Sequence[Mapping[str, Any]],
        rest: Retrieval,
        defocus_um: float,
        poke: float,
    ) -> Pokes:
        """Retrieve push and pull of every electrode.

        Args:
            data: Pictures of push and pull, electrode by electrode in the order taken.
            rest: The rest shape.
            defocus_um: Defocus under all of them, µm RMS.
            poke: Height of a poke, normalised volts.
        """
        pairs, middles, middle = [], [], rest.values
        best = np.inf
        for taken in data:
            pair = self._pair(taken, middle, defocus_um)
            pairs.append(pair)
            best = min(best, *(found.chi2 for found in pair))
            if max(found.chi2 for found in pair) < LOST * best:
                middle = (pair[0].values + pair[1].values) / 2.0
            middles.append(middle)
        # Not the median: half of them may be lost.
        usual = float(np.quantile([found.chi2 for pair in pairs for found in pair], 0.25))
        in_vain = 0
        for taken, pair, middle in zip(data, pairs, middles, strict=True):
            for side in (0, 1):
                if pair[side].chi2 > LOST * usual and in_vain < IN_VAIN:
                    plane = self._plane(taken, defocus_um, side)
                    pair[side] = self._again(plane, pair, side, middle, usual)
                    in_vain = in_vain + 1 if pair[side].chi2 > LOST * usual else 0
        return self._matrix(data, pairs, usual, poke)

    def sweep(
        self, data: Mapping[str, Any], rest: Retrieval, defocus_um: float, small: Vector
    ) -> Sweep:
        """Return the response along the sweep, in units of small-signal volts."""
        signs = np.asarray(data["signs"])
        direction = small[2:] @ signs
        parts = direction @ (small[2:] * signs) / float(direction @ direction)
        return Sweep(
            levels=np.asarray(data["levels"]),
            bias=float(data["bias"]),
            up=float(parts[signs > 0].sum()),
            response=self._along(data, rest, defocus_um, direction / WAVE_UM),
            at_s=np.asarray(data["at_ns"]) * 1e-9,
        )

    def creep(
        self, data: Mapping[str, Any], rest: Retrieval, defocus_um: float, small: Vector
    ) -> CreepModel | None:
        """Return the creep after one step of the pattern, if the pictures show any."""
        direction = small[2:] @ np.asarray(data["signs"]) / WAVE_UM
        response = self._along(data, rest, defocus_um, direction)
        since_s = (np.asarray(data["at_ns"])[1:] - int(data["moved_ns"])) * 1e-9
        step = response[1:2] - response[:1]
        return fit_creep(since_s, (response[1:] - response[1])[:, None], step)[0]

    def _along(
        self, data: Mapping[str, Any], rest: Retrieval, defocus_um: float, direction: Vector
    ) -> Vector:
        """Return how much of a direction (waves) each picture of a series shows."""
        known = rest.values.copy()
        known[self.listed.index((2, 0))] += defocus_um / WAVE_UM
        options = replace(
            self._tracking(np.zeros(len(LOOSE))),
            modes=LOOSE,
            known=self._waves(known),
            shape_sigma_waves=0.3,
            fit_gain=True,
            gain_sigma=0.3,
        )
        levels = np.asarray(data["levels"])
        found: list[float] = []
        misfit: list[float] = []
        start = np.zeros(len(LOOSE))
        along = self._waves(direction)
        whole = stacks.unpack(data, [{}] * len(levels), self.pupil)
        for k in range(len(levels)):
            plane = replace(whole.only([k]), diversity=(along,))
            # The amplitude along the pattern is the gain of a known offset.
            guess = _next(levels[: k + 1], found)
            result = retrieve(plane, replace(options, gain_start=guess))
            usual = float(np.median(misfit)) if misfit else np.inf
            # The electrodes' loops do not cancel in focus: follow what is left over.
            for aside in ASIDE:
                if result.chi2 <= LOST_ALONG * usual:
                    break
                near = start + aside * self._focus(LOOSE)
                quick = replace(options, gain_start=guess, start=self._waves(near), bins=(1,))
                result = min(result, retrieve(plane, quick), key=lambda one: one.chi2)
            found.append(result.gain)
            misfit.append(result.chi2)
            start = result.values
            options = replace(options, start=result.shape)
        return np.array(found)

    def _pair(self, data: Mapping[str, Any], middle: Vector, defocus_um: float) -> list[Retrieval]:
        """Retrieve push and pull of one electrode, near a known shape between them (waves).

        They are so near that no coarse bins are needed, and opposite, so that one says
        where the other is.
        """
        quick = replace(self._tracking(middle), bins=(1,))
        push = retrieve(self._plane(data, defocus_um, 0), quick)
        mirrored = self._waves(2.0 * middle - push.values)
        return [push, retrieve(self._plane(data, defocus_um, 1), replace(quick, start=mirrored))]

    def _again(
        self, plane: PsfStack, pair: Sequence[Retrieval], side: int, middle: Vector, usual: float
    ) -> Retrieval:
        """Retrieve a lost plane from other starts, through coarser bins."""
        best, partner = pair[side], pair[1 - side]
        nears = [middle]
        if partner.chi2 <= LOST * usual:
            nears.insert(0, 2.0 * middle - partner.values)
        for bins in AGAIN:
            for near in nears:
                found = retrieve(plane, replace(self._tracking(near), bins=bins))
                best = min(best, found, key=lambda result: result.chi2)
                if best.chi2 <= LOST * usual:
                    return best
        return best

    def _matrix(
        self,
        data: Sequence[Mapping[str, Any]],
        pairs: Sequence[Sequence[Retrieval]],
        usual: float,
        poke: float,
    ) -> Pokes:
        """Return the matrix: half the difference of push and pull, or what is there of it."""
        seen = np.array(
            [
                [self._um(found, taken, side) for side, found in enumerate(pair)]
                for taken, pair in zip(data, pairs, strict=True)
            ]
        )
        good = np.array([[found.chi2 <= LOST * usual for found in pair] for pair in pairs])
        both = np.flatnonzero(good.all(axis=1))
        if both.size == 0:
            both = np.arange(len(pairs))
        middles = seen[both].mean(axis=1)
        matrix = (seen[:, 0] - seen[:, 1]) / (2.0 * poke)
        variance = np.array([[np.diag(honest(found)) for found in pair] for pair in pairs]).sum(
            axis=1
        )
        for electrode in np.flatnonzero(good.sum(axis=1) == 1).tolist():
            side = int(np.flatnonzero(good[electrode])[0])
            near = middles[int(np.abs(both - electrode).argmin())]
            matrix[electrode] = (1 - 2 * side) * (seen[electrode, side] - near) / poke
            variance[electrode] = 4.0 * np.diag(honest(pairs[electrode][side]))
        sigma = np.zeros_like(matrix)
        sigma[:, 2:] = np.sqrt(variance) * WAVE_UM / (2.0 * poke)
        return Pokes(
            um_per_volt=matrix.T,
            sigma_um=sigma.T,
            lost=tuple(int(i) for i in np.flatnonzero(~good.any(axis=1))),
            middle=middles[-1][2:] / WAVE_UM,
            chi2=usual,
        )

    def _um(self, found: Retrieval, data: Mapping[str, Any], plane: int) -> Vector:
        """Return the whole shape, µm RMS: tilts (of window place and fit; x, y up), modes."""
        column, row = np.asarray(data["centre_px"])[plane]
        place = np.array([float(column), -float(row)]) / self.px_per_um
        return np.concatenate([found.tilts_waves[0] * WAVE_UM + place, found.values * WAVE_UM])

    def _plane(self, data: Mapping[str, Any], defocus_um: float, plane: int) -> PsfStack:
        count = len(data["image_e"])
        return stacks.unpack(data, [{DEFOCUS: defocus_um}] * count, self.pupil).only([plane])

    def _tracking(self, near: Vector) -> RetrievalOptions:
        start = self._waves(near)
        return replace(
            bench_options(self.listed, reference=None, source=self.source),
            fit_gain=False,
            offset_modes=(),
            start=start,
            shape_sigma_waves=0.1,
            starts=1,
        )

    @staticmethod
    def _focus(listed: tuple[Mode, ...]) -> Vector:
        return np.array([float(mode == DEFOCUS) for mode in listed])

    def _waves(self, values: Vector) -> Coefficients:
        listed = self.listed[: len(values)]
        pairs = dict(zip(listed, values.tolist(), strict=True))
        return Coefficients(pairs, Unit.WAVES_RMS, self.pupil.wavelengths_nm[0])


def _next(levels: Vector, found: Sequence[float]) -> float:
    """Return the response expected at the last level: on as it went, after a turn as the volts."""
    if not found:
        return 0.0
    step, slope = float(levels[-1] - levels[-2]), 1.0
    if len(found) > 1:
        last = float(levels[-2] - levels[-3])
        slope = (found[-1] - found[-2]) / last if last * step > 0.0 else 1.0
    return found[-1] + slope * step
