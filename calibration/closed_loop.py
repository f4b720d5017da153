"""The turns of a closed loop: go there, photograph, retrieve, say what to change.

The planes of a measurement differ by small moves of all electrodes within the slack of
the hysteresis, so what they change is known, and the shape found is the one that stands.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration import stacks
from calibration.corrector import Corrector
from calibration.forward import PointSource
from calibration.point_camera import PointCamera, pupil_of
from calibration.procedure import Context
from calibration.psf import bench_options, fit_error, prediction_error, source_px
from calibration.retrieval import Retrieval, Verdict, retrieve
from calibration.stack import PsfStack
from camera_rig.errors import StateError
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.mirror.influence import InfluenceMatrix
from camera_rig.optics import Coefficients, Mode, Order, Unit, modes

__all__ = ["ASKED", "PAUSE_S", "SETTLE_S", "ClosedLoop", "recognised"]

Vector = npt.NDArray[np.float64]

ASKED = modes(Order.NOLL, 4, 15)
"""Modes with a wanted value."""
DIVERSITY_WAVES = 0.6
SETTLE_S = 120.0
"""Wait after the first move, s."""
PAUSE_S = 3.0
"""Wait after each move, s: creep is quickest just after it."""
UP = 1
"""Which plane carries the defocus up."""
LANDINGS = 4
"""Rounds to allow for the moves of a measurement before they are made."""
SEARCHES: tuple[tuple[tuple[int, ...], float], ...] = (
    ((4, 2, 1), 0.1),
    ((8, 4, 2, 1), 0.3),
    ((16, 8, 4, 2, 1), 0.3),
    ((16, 8, 4, 2, 1), np.inf),
)
"""Bins, and how far the shape may be from the expected (waves RMS a mode), try by try.

The last asks the pictures alone: a wrong model of the mirror must not end the loop that is
there to correct it.
"""
FRESH_STARTS = 3
LARGEST_FIT_ERROR = 0.3
OFFSET_SIGMA_WAVES = 0.05
"""Doubt about the defocus of a plane: small moves do not all follow one slope."""


class ClosedLoop:
    """State of one closed loop, from the relaxed mirror on.

    Args:
        context: The run; an influence calibration must be in use.
        wanted: Coefficients to show.
        pinhole_mm: Diameter of the pinhole.
        frames: Pictures averaged.
    """

    def __init__(
        self, context: Context, wanted: Coefficients, pinhole_mm: float, frames: int
    ) -> None:
        self.context = context
        self.mirror = context.rig.mirror
        influence = context.input("influence")
        folder = context.store.folder(influence)
        self.matrix = InfluenceMatrix.load(folder / "influence.json")
        self.corrector = Corrector(self.matrix, ASKED)
        self.play = PlayOperators(self._play(folder))
        self.small_gain = influence.figures["small_signal_gain"]
        self.pupil = pupil_of(context)
        self.wave_um = self.pupil.wavelengths_nm[0] / 1000.0
        self.source = stacks.point_of(source_px(context, pinhole_mm), self.pupil)
        # All that the electrodes can do: a mode left out is laid to those that are fitted.
        self.fitted = self.corrector.listed
        self.camera = PointCamera(context, frames=frames)
        wanted_um = wanted.to(unit=Unit.UM_RMS)
        self.wanted_um = np.array([wanted_um.values.get(m, 0.0) for m in self.corrector.listed])
        self.size = 0
        self.last: tuple[Vector, Coefficients] | None = None

    def relax(self) -> None:
        """Bring mirror and model to rest."""
        stacks.settle(self.mirror)
        self.play.forget()
        self.play.advance(np.zeros(self.mirror.actuators))

    def first(self) -> Vector:
        """Return the normalised command that the model says shows the wanted shape."""
        rest = self.matrix.rest_um[self.matrix.places(self.corrector.listed)]
        start = np.zeros(self.mirror.actuators)
        return self._command(self.wanted_um - rest, start)

    def measure(self, command: Vector) -> Retrieval:
        """Photograph with defocus either side, the shape itself last; retrieve.

        The mirror has been to both sides before the first picture: from there on these
        moves stay within the slack of the hysteresis, so what they change is known.
        """
        down, up, _ = moves = self._moves(command)
        path = [command, command + up, command + down]
        for place in path:
            self.mirror.apply(stacks.to_volts(self.mirror, place), reason="realise: slack")
        if not self.size:
            # The first move is the largest, and glass creeps by the logarithm of time.
            self.context.rig.clock.sleep(SETTLE_S)
            self.camera.light_on()
            self.size = max(self.camera.window_for() + 32, 192)
        planes = [command + move for move in moves]
        volts = [stacks.to_volts(self.mirror, plane) for plane in planes]
        taken = stacks.measure(self.camera, volts, self.size, "realise", PAUSE_S)
        responses = [self.play.advance(place) for place in (*path, *planes)]
        ones = np.ones(self.mirror.actuators)
        offsets = [self._change_um(self.small_gain * move * ones) for move in moves]
        stack = stacks.unpack(taken, offsets, self.pupil)
        found = recognised(stack, self._expected(responses[-1]), self.source)
        self.now = responses[-1]
        self.last = self.now, found.shape
        self.taken = stack
        self.measured_ns = int(taken["at_ns"][-1])
        return found

    def response(self) -> Vector:
        """Return the response that the model says stands now."""
        return self.now.copy()

    def residual(self, found: Retrieval) -> float:
        """Return what is wrong in the modes asked for, waves RMS at 550 nm."""
        places = [found.modes.index(mode) for mode in ASKED]
        wanted = [self.corrector.listed.index(mode) for mode in ASKED]
        gap = found.values[places] * self.wave_um - self.wanted_um[wanted]
        return float(np.linalg.norm(gap)) / 0.55

    def corrected(self, found: Retrieval) -> Vector:
        """Return the next command."""
        missing = np.zeros(len(self.corrector.listed))
        for place, mode in enumerate(self.corrector.listed):
            if mode in found.modes:
                shown = found.values[found.modes.index(mode)] * self.wave_um
                missing[place] = self.wanted_um[place] - shown
        return self._command(missing, self.now)

    def back_to(self, response: Vector) -> Vector:
        """Return the command that brings an earlier response back."""
        return self._command(np.zeros(len(self.corrector.listed)), response)

    def held_out(self, found: Retrieval, command: Vector) -> tuple[float, float]:
        """Return how badly a new plane is predicted by the wanted flat, and by the shape."""
        _, up, _ = self._moves(command)
        shown = command + 0.5 * up
        taken = stacks.measure(
            self.camera,
            [stacks.to_volts(self.mirror, shown)],
            self.size,
            "realise: held out",
            PAUSE_S,
        )
        # Half of what the plane with the whole move was found to show.
        offset = {m: 0.5 * v * self.wave_um for m, v in self._shown(found, UP).items()}
        plane = stacks.unpack(taken, [offset], self.pupil)
        source = self.source
        nothing = Coefficients({}, Unit.WAVES_RMS, self.pupil.wavelengths_nm[0])
        self.mirror.apply(stacks.to_volts(self.mirror, command), reason="realise: the shape")
        self.mirror.set_safe_command(stacks.to_volts(self.mirror, command))
        self.context.rig.clock.sleep(PAUSE_S)
        return prediction_error(plane, nothing, source), prediction_error(
            plane, found.shape, source
        )

    def _shown(self, found: Retrieval, plane: int) -> dict[Mode, float]:
        """Return what a plane differed by from the shape itself, waves RMS."""
        stated = dict(self.taken.diversity[plane].values)
        for mode, error in zip(ASKED, found.offsets[plane].tolist(), strict=True):
            stated[mode] = stated.get(mode, 0.0) + error
        return stated

    def _moves(self, command: Vector) -> list[float]:
        """Return what the planes add to all electrodes, normalised, within the range."""
        unit = self._unit()
        room_up, room_down = 1.0 - command.max(), 1.0 + command.min()
        up, down = min(unit, room_up), min(unit, room_down)
        if max(up, down) < 0.3 * unit:
            raise StateError(
                "the shape needs the whole range of an electrode: no room to measure it",
                hint="scale the wanted coefficients down a little",
            )
        return [-down, up, 0.0]

    def _unit(self) -> float:
        defocus = self.matrix.rows([(2, 0)])[0].sum() * self.small_gain
        return float(0.55 * DIVERSITY_WAVES / abs(defocus))

    def _expected(self, response: Vector) -> Coefficients:
        """Return the shape that the last measurement, or at first the model, predicts."""
        modelled = self._modelled(response)
        if self.last is not None:
            now, shown = self.last
            before = self._modelled(now)
            modelled = {m: shown.values[m] + modelled[m] - before[m] for m in self.fitted}
        values = {m: modelled[m] for m in self.fitted}
        return Coefficients(values, Unit.WAVES_RMS, self.pupil.wavelengths_nm[0])

    def _modelled(self, response: Vector) -> dict[Mode, float]:
        um = self.matrix.wavefront_um(response)
        pairs = zip(self.matrix.modes, um.tolist(), strict=True)
        return {m: value / self.wave_um for m, value in pairs if m[0] >= 2}

    def _change_um(self, response: Vector) -> dict[Mode, float]:
        listed = self.corrector.listed
        um = self.matrix.rows(listed) @ response
        return dict(zip(listed, um.tolist(), strict=True))

    def _command(self, change_um: Vector, response: Vector) -> Vector:
        ones = np.ones(self.mirror.actuators)
        low, high = self.play.preview(-0.97 * ones), self.play.preview(0.97 * ones)
        target = self.corrector.change(change_um, response, low, high)
        aim = target
        for _ in range(LANDINGS):
            command = np.asarray(np.clip(self.play.inverse(aim), -0.97, 0.97))
            aim = aim + target - self._landed(command)
        return command

    def _landed(self, command: Vector) -> Vector:
        """Return the response to a command after the moves of a measurement."""
        play = self.play.copy()
        down, up, _ = self._moves(command)
        for place in (command, command + up, command + down):
            play.advance(place)
        return play.advance(command)

    def _play(self, folder: Path) -> PlayModel:
        path = folder / "hysteresis.json"
        if path.exists():
            return PlayModel.from_dict(json.loads(path.read_text(encoding="utf-8")))
        # No sweep was made: straight lines, and the loop corrects the rest.
        return PlayModel.symmetric(self.mirror.actuators, np.array([0.5]), np.array([0.0]), 1.0)


def recognised(stack: PsfStack, expected: Coefficients, source: PointSource) -> Retrieval:
    """Retrieve from where the model says the shape is, wider where that fails, at last afresh.

    Args:
        stack: Defocus down, up, and the shape itself.
        expected: Shape that the model predicts.
        source: Size of source and pixel.

    Raises:
        StateError: The pictures fit no shape.
    """
    best: Retrieval | None = None
    for bins, sigma_waves in SEARCHES:
        afresh = np.isinf(sigma_waves)
        options = bench_options(
            tuple(expected.values),
            reference=2,
            source=source,
            fit_gain=False,
            offset_modes=ASKED,
            offset_sigma_waves=OFFSET_SIGMA_WAVES,
            start=None if afresh else expected,
            shape_sigma_waves=sigma_waves,
            bins=bins,
            starts=FRESH_STARTS if afresh else 1,
        )
        found = retrieve(stack, options)
        if best is None or found.chi2 < best.chi2:
            best = found
        if best.verdict is not Verdict.FAILED:
            return best
    assert best is not None  # noqa: S101 - there is always one search
    if fit_error(best, stack) > LARGEST_FIT_ERROR:
        raise StateError(
            f"the pictures do not fit any shape (chi-squared {best.chi2:.0f})",
            hint="check the point source and run `rig calibrate run influence` again",
        )
    return best
