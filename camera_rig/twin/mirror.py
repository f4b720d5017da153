"""The deformable mirror as glass and piezo: what its electrodes do to the light.

Volts go through play operators (hysteresis), a short mechanical response and creep to
forty bending shapes, seen through a beam that stands a little off the middle, turned
and stretched by the angle of incidence.
"""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.bench import Bench
from camera_rig.errors import ConfigError
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.mirror.influence import DEFAULT_MODES, InfluenceMatrix, InfluenceModel
from camera_rig.optics import zernike
from camera_rig.twin import _random

__all__ = ["Footprint", "MirrorBody", "MirrorOptions", "true_influence"]

Floats = NDArray[np.float64]
NonNegative = Annotated[float, Field(ge=0)]

MODES = DEFAULT_MODES
"""Modes that carry every wavefront of the twin: Noll 1 to 66."""

_RADII = np.array([1 / 3, 2 / 3])
_CREEP_TIMES_S = 0.3 * 10.0 ** np.arange(6)


class MirrorOptions(BaseModel):
    """Hidden facts of the mirror. None: drawn from the world's seed.

    Args:
        range_v: Voltages of the lowest and highest response, V.
        loop: Height of the hysteresis loop over the full swing (dimensionless).
        loop_spread: Relative standard deviation of ``loop`` over the electrodes.
        stroke_spread: Relative standard deviation of the electrodes' strokes.
        creep_per_decade: Share of a step that is added in each decade of time.
        response_s: Time constant of the glass, s.
        dead_actuators: Electrodes that do nothing.
        influence: File with a measured influence matrix; it takes the place of the plate
            model, the strokes' spread and the beam's place.
        hysteresis: File with a measured play model; it takes the place of ``loop``.
        decentre_mm: Middle of the beam on the mirror (x, y), mm.
        rotation_deg: Turn of the mirror against the picture, counter-clockwise, degrees.
        flipped: Whether the mirror is seen mirrored left to right.
        scale: Beam on the mirror over its nominal diameter.
        temperature_c: Temperature when switched on, °C.
        warm_up_c: How much warmer it gets, °C.
        warm_up_s: Time constant of that, s.
        defocus_um_per_c: Thermal defocus, µm RMS of wavefront per °C.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    range_v: tuple[float, float] = (0.0, 300.0)
    loop: Annotated[float, Field(ge=0, lt=0.5)] = 0.14
    loop_spread: NonNegative = 0.03
    stroke_spread: NonNegative = 0.02
    creep_per_decade: NonNegative = 0.015
    response_s: Annotated[float, Field(gt=0)] = 0.0015
    dead_actuators: tuple[Annotated[int, Field(ge=0)], ...] = ()
    influence: Path | None = None
    hysteresis: Path | None = None
    decentre_mm: tuple[float, float] | None = None
    rotation_deg: float | None = None
    flipped: bool = False
    scale: Annotated[float, Field(gt=0.5, lt=1.4)] | None = None
    temperature_c: float = 23.0
    warm_up_c: float = 1.5
    warm_up_s: Annotated[float, Field(gt=0)] = 1200.0
    defocus_um_per_c: float = 0.01


@dataclass(frozen=True)
class Footprint:
    """The beam on the mirror.

    Args:
        diameter_mm: Beam diameter across the plane of incidence, mm.
        decentre_mm: Its middle, mm.
        rotation_deg: Turn of the mirror against the picture, degrees.
        flipped: Whether the mirror is seen mirrored.
        incidence_deg: Angle of incidence, in the mirror's x direction, degrees.
    """

    diameter_mm: float
    decentre_mm: tuple[float, float] = (0.0, 0.0)
    rotation_deg: float = 0.0
    flipped: bool = False
    incidence_deg: float = 0.0

    @classmethod
    def drawn(cls, options: MirrorOptions, bench: Bench, state: int) -> Footprint:
        """Return the configured beam; what is None belongs to the key ``state``."""
        scale = options.scale
        if scale is None:
            scale = 1.0 + 0.01 * _random.normal(state, 1)
        decentre = options.decentre_mm or (
            0.15 * _random.normal(state, 2),
            0.15 * _random.normal(state, 3),
        )
        turn = options.rotation_deg
        return cls(
            bench.mirror_pupil_mm * scale,
            decentre,
            1.0 * _random.normal(state, 4) if turn is None else turn,
            options.flipped,
            bench.incidence_deg,
        )

    def to_mirror_mm(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return points on the mirror, mm, of pupil points (pupil radii, y up)."""
        angle = math.radians(self.rotation_deg)
        cosine, sine = math.cos(angle), math.sin(angle)
        across = -x if self.flipped else x
        turned_x, turned_y = cosine * across + sine * y, -sine * across + cosine * y
        radius_mm = self.diameter_mm / 2
        stretch = 1.0 / math.cos(math.radians(self.incidence_deg))
        return (
            radius_mm * stretch * turned_x + self.decentre_mm[0],
            radius_mm * turned_y + self.decentre_mm[1],
        )


@lru_cache(maxsize=16)
def true_influence(bench: Bench, footprint: Footprint) -> Floats:
    """Return µm RMS of wavefront per unit of response, (modes, electrodes), read-only.

    The maker's shapes are seen through the real beam: points of the pupil are carried
    to the mirror, and what is found there is expanded in the pupil's own modes. A path
    that meets a surface at an angle is changed by its cosine.
    """
    model = InfluenceModel(bench.mirror, bench.mirror_pupil_mm)
    nodes, gauss = np.polynomial.legendre.leggauss(32)
    rho = np.sqrt((nodes + 1.0) / 2.0)
    theta = 2.0 * np.pi * np.arange(96) / 96
    x, y = np.outer(rho, np.cos(theta)).ravel(), np.outer(rho, np.sin(theta)).ravel()
    weight = np.repeat(gauss / 2.0, 96) / 96
    heights = model.at(*footprint.to_mirror_mm(x, y))
    basis = zernike.basis(MODES, np.hypot(x, y), np.arctan2(y, x))
    cosine = math.cos(math.radians(footprint.incidence_deg))
    influence: Floats = (basis * weight) @ heights.T * cosine
    influence.flags.writeable = False
    return influence


@dataclass(frozen=True)
class _Step:
    """State at the moment of one command."""

    at_s: float
    volts: Floats
    before: Floats
    target: Floats
    creep: Floats


class MirrorBody:
    """The physical mirror: takes volts at a time, tells its shape at any later time.

    Args:
        options: Hidden facts.
        bench: Electrode layout and beam.
        state: Random key of this mirror.
    """

    def __init__(self, options: MirrorOptions, bench: Bench, state: int) -> None:
        self.options = options
        self.footprint = Footprint.drawn(options, bench, _random.mix(state, 1))
        count = sum(bench.mirror.ring_segments)
        random = _random.generator(_random.mix(state, 2))
        self.strokes = 1.0 + options.stroke_spread * random.standard_normal(count)
        self.strokes[[i for i in options.dead_actuators if i < count]] = 0.0
        self.loops = options.loop * (1.0 + options.loop_spread * random.standard_normal(count))
        if options.influence is None:
            self.influence_um = true_influence(bench, self.footprint) * self.strokes
        else:
            self.influence_um = _measured_influence(options.influence, count)
        if options.hysteresis is None:
            self.play_model = _play_model(np.clip(self.loops, 0.0, 0.49))
        else:
            self.play_model = _measured_play(options.hysteresis, count)
        self._play = PlayOperators(self.play_model)
        rest = np.zeros(count)
        self._lock = threading.Lock()
        middle_v = np.full(count, sum(options.range_v) / 2)
        creep = np.zeros((len(_CREEP_TIMES_S), count))
        self._steps = [_Step(-math.inf, middle_v, rest, rest, creep)]

    @property
    def actuators(self) -> int:
        """Number of electrodes."""
        return int(self.strokes.size)

    def command(self, volts: Floats, at_s: float) -> None:
        """Set all voltages (V) at ``at_s`` (world seconds); times must not go back."""
        low_v, high_v = self.options.range_v
        normalised = 2.0 * (np.asarray(volts, dtype=float) - low_v) / (high_v - low_v) - 1.0
        with self._lock:
            before, creep = self._state(self._steps[-1], at_s)
            target = self._play.advance(normalised)
            self._steps.append(_Step(at_s, np.array(volts, float), before, target, creep))
            if len(self._steps) > 512:
                del self._steps[:256]

    def volts(self, at_s: float) -> Floats:
        """Return the voltages that stand at ``at_s`` (world seconds), V."""
        return self._step_at(at_s).volts.copy()

    def volts_for(self, response: Floats) -> Floats:
        """Return the voltages (V) that give a normalised response from here, at once."""
        low_v, high_v = self.options.range_v
        with self._lock:
            normalised = self._play.inverse(response)
        return np.asarray(low_v + (high_v - low_v) * (normalised.clip(-1, 1) + 1.0) / 2.0)

    def step_number(self, at_s: float) -> float:
        """Return a label of the command in force at ``at_s``: the time it was given, s."""
        return self._step_at(at_s).at_s

    def response(self, at_s: float) -> Floats:
        """Return the normalised response of each electrode at ``at_s``, creep included."""
        position, creep = self._state(self._step_at(at_s), at_s)
        return np.asarray(position + self.options.creep_per_decade * creep.sum(axis=0))

    def wavefront_um(self, at_s: float) -> Floats:
        """Return µm RMS of wavefront per mode of :data:`MODES` at ``at_s``."""
        um = self.influence_um @ self.response(at_s)
        warmer_c = self.temperature_c(at_s) - self.options.temperature_c
        um[MODES.index((2, 0))] += self.options.defocus_um_per_c * warmer_c
        return np.asarray(um)

    def temperature_c(self, at_s: float) -> float:
        """Return the temperature of the glass at ``at_s``, °C."""
        o = self.options
        return o.temperature_c + o.warm_up_c * -math.expm1(-max(at_s, 0.0) / o.warm_up_s)

    def _step_at(self, at_s: float) -> _Step:
        steps = self._steps
        for step in reversed(steps):
            if step.at_s <= at_s:
                return step
        return steps[0]

    def _state(self, step: _Step, at_s: float) -> tuple[Floats, Floats]:
        if math.isinf(step.at_s):
            return step.target, step.creep
        age_s = max(at_s - step.at_s, 0.0)
        left = math.exp(-age_s / self.options.response_s)
        position = step.target + (step.before - step.target) * left
        fade = np.exp(-age_s / _CREEP_TIMES_S)[:, None]
        return position, step.target + (step.creep - step.target) * fade


def _play_model(loops: Floats) -> PlayModel:
    """Two operators per electrode whose loop over the full swing has the wanted height."""
    weight = 2.0 * loops / (4.0 / 3.0 + 2.0 * loops)
    linear = 1.0 - 2.0 * weight
    reach = linear + weight * float(np.sum(1.0 - _RADII))
    weights = np.repeat((weight / reach)[:, None], _RADII.size, axis=1)
    slope = linear / reach
    return PlayModel(_RADII, weights, np.array([-1.0, 1.0]), slope[:, None], -slope)


def _measured_influence(path: Path, actuators: int) -> Floats:
    """Return a measured matrix, µm RMS per unit, rows in the twin's modes."""
    matrix = InfluenceMatrix.load(path)
    _check_count(path, matrix.actuators, actuators)
    um = np.zeros((len(MODES), actuators))
    for row, mode in enumerate(MODES):
        if mode in matrix.modes:
            um[row] = matrix.um_per_unit[matrix.modes.index(mode)]
    return um


def _measured_play(path: Path, actuators: int) -> PlayModel:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is no hysteresis model: {error}",
            hint="rebuild the twin: `rig twin from-calibration`",
        ) from error
    model = PlayModel.from_dict(data)
    _check_count(path, model.actuators, actuators)
    return model


def _check_count(path: Path, found: int, actuators: int) -> None:
    if found != actuators:
        raise ConfigError(
            f"{path} is of {found} electrodes, the bench's mirror has {actuators}",
            hint="set bench.mirror.ring_segments as the measured mirror has them",
        )


def nominal_patterns(bench: Bench) -> dict[Any, Floats]:
    """Return the maker's normalised voltages of its twelve modes at amplitude 1.

    Each is the least-squares shape of the nominal mirror, as large as the range allows.
    """
    listed = [mode for mode in MODES if 2 <= mode[0] <= 4]
    matrix = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix(MODES)
    rows = [row for row, mode in enumerate(MODES) if mode[0] >= 2]
    inverse = np.linalg.pinv(matrix.um_per_unit[rows], rcond=1e-3)
    patterns: dict[Any, Floats] = {}
    for mode in listed:
        wanted = np.zeros(len(rows))
        wanted[rows.index(MODES.index(mode))] = 1.0
        pattern = inverse @ wanted
        patterns[mode] = pattern / np.abs(pattern).max()
    return patterns
