"""From coefficients to voltages: within limits, told mode by mode, never clipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from camera_rig.contracts import Mirror, Volts
from camera_rig.errors import ConfigError, SafetyError, StateError, UnsupportedError
from camera_rig.mirror import solve
from camera_rig.mirror._scale import VoltageScale
from camera_rig.mirror.influence import InfluenceMatrix
from camera_rig.mirror.memory import HysteresisMemory
from camera_rig.mirror.names import mode_label
from camera_rig.mirror.shape import Fit, Hysteresis, Method, ModeLine, ShapePlan
from camera_rig.mirror.solve import ShapeProblem
from camera_rig.optics import Coefficients, Mode, Order, Unit, modes

Array = np.ndarray[Any, np.dtype[np.float64]]

CONTROLLED = modes(Order.NOLL, 4, 15)
"""Modes that forty electrodes can set one by one (dimensionless)."""

_RIGID = modes(Order.NOLL, 1, 3)


@dataclass(frozen=True)
class ModalOptions:
    """How strict the planning is.

    Args:
        tolerance: Error allowed in each mode, as a share of the wanted RMS.
        least_tolerance_um: Error that is always allowed, µm RMS.
        caution: Strength that keeps voltages small, see :class:`ShapeProblem`.
        beyond_share: Error allowed in each mode that nobody asked for, same share.
        verify_v: Largest difference between sent and read back, V.
    """

    tolerance: float = 0.02
    least_tolerance_um: float = 0.005
    caution: float = 3e-3
    beyond_share: float = 0.2
    verify_v: float = 0.5


@dataclass(frozen=True, eq=False)
class LoadedShape:
    """A plan that was sent, and what the mirror read back (V)."""

    plan: ShapePlan
    read_back_v: Volts

    @property
    def deviation_v(self) -> float:
        """Largest difference between sent and read back, V."""
        return float(np.max(np.abs(self.read_back_v - self.plan.command_v)))


class ModalMirror:
    """Any mirror, spoken to in Zernike coefficients.

    Without an influence matrix only stroke fractions are understood, through the
    maker's own patterns. With one, any wavefront unit, within the limits.

    Belongs to the mirror's thread. Not offered: closing a loop on pictures (that is
    ``calibration.realise``), and piston, tip or tilt: a bending disc has none.

    Args:
        mirror: An open mirror.
        influence: What each actuator does, measured or modelled.
        memory: Hysteresis, attached to the same mirror; left aside when the mirror
            compensates itself.
        options: How strict the planning is.

    Raises:
        ConfigError: The matrix is for another number of actuators.
    """

    def __init__(
        self,
        mirror: Mirror,
        influence: InfluenceMatrix | None = None,
        memory: HysteresisMemory | None = None,
        options: ModalOptions | None = None,
    ) -> None:
        self.mirror = mirror
        self.influence = influence
        self.memory = None if mirror.compensates_hysteresis else memory
        self.options = options or ModalOptions()
        self._scale = VoltageScale.of(mirror.limits)
        self._asked: tuple[Mode, ...] = ()
        self._beyond: tuple[Mode, ...] = ()
        if influence is None:
            return
        if influence.actuators != mirror.actuators:
            raise ConfigError(
                f"the influence matrix has {influence.actuators} actuators, "
                f"{mirror.name} has {mirror.actuators}",
                hint="calibrate this mirror: `rig calibrate run influence`",
            )
        self._scale = VoltageScale.of(mirror.limits, influence.range_v)
        self._asked = tuple(mode for mode in CONTROLLED if mode in influence.modes)
        aside = {*self._asked, *_RIGID}
        self._beyond = tuple(mode for mode in influence.modes if mode not in aside)

    @property
    def hysteresis(self) -> Hysteresis:
        """Who takes care of hysteresis."""
        if self.mirror.compensates_hysteresis:
            return Hysteresis.MAKER
        return Hysteresis.NONE if self.memory is None else Hysteresis.MODEL

    def plan(self, coefficients: Coefficients, fit: Fit = Fit.EXACT) -> ShapePlan:
        """Work out the command for a shape; sends nothing.

        Raises:
            UnsupportedError: Piston, tip or tilt was asked for.
            ConfigError: A mode that the mirror cannot set was asked for.
            StateError: Not calibrated, and the unit needs a calibration.
        """
        self._refuse_rigid(coefficients)
        if self.influence is None:
            return self._plan_by_maker(coefficients, fit)
        if coefficients.unit is Unit.STROKE_FRACTION:
            coefficients = coefficients.to(unit=Unit.UM_RMS, strokes_um=self._symmetric_strokes())
        wanted = coefficients.to(unit=Unit.UM_RMS)
        self._refuse_uncontrolled(wanted)
        return self._plan_by_matrix(wanted.array(self._asked), fit)

    def load(
        self, coefficients: Coefficients, fit: Fit = Fit.EXACT, *, reason: str = "load"
    ) -> LoadedShape:
        """Plan, refuse or send, read back, verify; the shape becomes the safe shape.

        The safe shape is what the mirror returns to on exit or lost link. Once a shape
        that hides faces is loaded, "safe" must keep hiding them: a flat mirror would
        not, and the electrodes bear any voltage within their limits.

        Raises:
            SafetyError: Out of reach; names the modes and the excess. Nothing was sent.
            ConnectError: The link was lost, or the mirror reads back something else.
        """
        plan = self.plan(coefficients, fit)
        plan.require_reachable()
        return LoadedShape(plan, self.send(plan.command_v, reason=reason))

    def send(self, command_v: Volts, *, reason: str, keep: bool = True) -> Volts:
        """Apply voltages (V), read back, verify; return what was read back (V).

        Args:
            command_v: Voltages, V.
            reason: For the journal.
            keep: Make it the safe shape.

        Raises:
            SafetyError: Refused; nothing was sent.
            RigError: The mirror reads back something else.
        """
        self.mirror.apply(command_v, reason=reason)
        found_v = self.mirror.read_back()
        off_v = np.abs(found_v - command_v)
        worst = int(np.argmax(off_v))
        if not off_v[worst] <= self.options.verify_v:
            raise StateError(
                f"{self.mirror.name} reads back {found_v[worst]:.2f} V on actuator {worst}, "
                f"{command_v[worst]:.2f} V was sent",
                hint="check the mirror's supply, and that no other program drives it",
            )
        if keep:
            self.mirror.set_safe_command(command_v)
        return found_v

    def flat(self) -> ShapePlan:
        """Plan the flattest shape: rest shape corrected, or the maker's flat."""
        if self.influence is None:
            return self.plan(Coefficients({}, Unit.STROKE_FRACTION))
        return self.plan(Coefficients({}, Unit.UM_RMS), Fit.NEAREST)

    def strokes_um(self) -> dict[Mode, tuple[float, float]]:
        """Return how far each mode goes alone, down and up, µm RMS (both positive).

        Raises:
            StateError: The mirror has no influence matrix.
        """
        self._known()
        problem = self._problem(np.zeros(len(self._asked)))
        return {
            mode: solve.strokes(problem, row, self.options.beyond_share)
            for row, mode in enumerate(self._asked)
        }

    def shape_um(self, command_v: Volts) -> dict[Mode, float]:
        """Return the wavefront that voltages (V) would give now, µm RMS per mode."""
        influence = self._known()
        if self.memory is None:
            response = self._scale.to_unit(command_v)
        else:
            response = self.memory.response(command_v)
        return dict(zip(influence.modes, influence.wavefront_um(response).tolist(), strict=True))

    def _plan_by_maker(self, coefficients: Coefficients, fit: Fit) -> ShapePlan:
        if coefficients.unit is not Unit.STROKE_FRACTION:
            raise StateError(
                f"{self.mirror.name} is not calibrated, so {coefficients.unit.value} "
                "cannot be turned into voltages",
                hint="run `rig calibrate run influence`, use a file in stroke_fraction, "
                "or try the plate model with --model",
            )
        # Zeros of modes that the library does not know are no wish for them.
        wanted = {mode: value for mode, value in coefficients.values.items() if value != 0.0}
        scale = 1.0
        command_v, why = self._makers(wanted, 1.0)
        if why and fit is Fit.SCALE:
            scale = self._largest_by_maker(wanted)
            command_v, why = self._makers(wanted, scale)
        if why:
            raise SafetyError(
                "the maker's pattern of this set is out of range: " + why,
                hint="use --scale, or calibrate the influence matrix for --nearest",
            )
        nan = float("nan")
        lines = tuple(
            ModeLine(mode, nan, nan, wanted_fraction=value * scale)
            for mode, value in coefficients.values.items()
            if mode not in _RIGID
        )
        note = "not calibrated: what these fractions are in µm is not known"
        return self._report(
            lines,
            command_v,
            Method.MAKER,
            fit=fit,
            feasible=scale == 1.0,
            scale=scale,
            scale_that_fits=scale,
            notes=(note,),
        )

    def _makers(self, wanted: Mapping[Mode, float], scale: float) -> tuple[Volts, str]:
        """Return the maker's voltages, and why they cannot be sent (empty if they can)."""
        try:
            pattern_v = self.mirror.maker_pattern({k: v * scale for k, v in wanted.items()})
        except SafetyError as error:
            return np.zeros(0), error.message
        return pattern_v, "; ".join(self.mirror.why_not(pattern_v)[:3])

    def _largest_by_maker(self, wanted: Mapping[Mode, float]) -> float:
        """Return the largest factor at which the maker's pattern fits, by bisection."""
        low, high = 0.0, 1.0
        for _ in range(24):
            middle = (low + high) / 2.0
            low, high = (low, middle) if self._makers(wanted, middle)[1] else (middle, high)
        return low

    def _plan_by_matrix(self, wanted_um: Array, fit: Fit) -> ShapePlan:
        if self.memory is not None:
            self.memory.notice(self.mirror.read_back())
        problem = self._problem(wanted_um)
        rest_um = problem.wanted_um - wanted_um
        response, scale, fitting = solve.reach(problem), 1.0, 1.0
        excess_um = np.zeros(len(wanted_um))
        feasible = response is not None
        if response is None:
            excess_um = -solve.least_change(problem, rest_um)
            fitting = solve.largest_scale(problem, rest_um)
            if fit is Fit.SCALE:
                scale = fitting
                problem = solve.scaled(problem, scale, rest_um)
                response = solve.reach(problem)
            if response is None:
                response = solve.nearest(problem)
        reached = problem.asked @ response - rest_um
        lines = tuple(
            ModeLine(mode, float(w * scale), float(r), excess_um=float(e if abs(e) > 1e-6 else 0))
            for mode, w, r, e in zip(self._asked, wanted_um, reached, excess_um, strict=True)
        )
        beyond_um = float(np.linalg.norm(problem.beyond_residual_um(response)))
        return self._report(
            lines,
            self._volts(response),
            Method.SOLVED,
            fit=fit,
            feasible=feasible,
            scale=scale,
            scale_that_fits=fitting,
            tolerance_um=problem.tolerance_um,
            beyond_um=beyond_um,
            notes=self._notes(beyond_um, float(np.linalg.norm(wanted_um))),
            shape_um=dict(
                zip(
                    self._known().modes,
                    self._known().wavefront_um(response).tolist(),
                    strict=True,
                )
            ),
        )

    def _problem(self, wanted_um: Array) -> ShapeProblem:
        influence, options = self._known(), self.options
        rest = influence.rest_um
        if self.memory is None:
            low, high = self._scale.low, self._scale.high
        else:
            low, high = self.memory.reach()
        size_um, least_um = float(np.linalg.norm(wanted_um)), options.least_tolerance_um
        flat = ShapeProblem(
            asked=influence.rows(self._asked),
            beyond=influence.rows(self._beyond),
            wanted_um=-rest[influence.places(self._asked)],
            beyond_um=-rest[influence.places(self._beyond)],
            low=low,
            high=high,
            tolerance_um=least_um,
            beyond_tolerance_um=least_um,
            caution=options.caution,
        )
        left_um = solve.least_beyond_um(flat) if rest.any() else 0.0
        return replace(
            flat,
            wanted_um=flat.wanted_um + wanted_um,
            tolerance_um=max(least_um, options.tolerance * size_um),
            beyond_tolerance_um=max(least_um, options.beyond_share * size_um) + left_um,
            beyond_left_um=left_um,
        )

    def _volts(self, response: Array) -> Volts:
        if self.memory is None:
            return self._scale.to_volts(response)
        return self.memory.command_v(response)

    def _notes(self, beyond_um: float, wanted_um: float) -> tuple[str, ...]:
        notes = []
        if self._known().provenance.kind != "measured":
            notes.append("the influence matrix is a model: sign and axes were not measured")
        if self.memory is not None and self.memory.uncertainty > 0.005:
            notes.append(
                f"the past of the electrodes is not known: up to {self.memory.uncertainty:.0%} "
                "of the stroke; `rig mirror relax` erases it"
            )
        if self.hysteresis is Hysteresis.NONE:
            notes.append("nobody compensates hysteresis: expect some per cent of the stroke")
        if beyond_um > 0.1 * wanted_um and wanted_um > 0:
            notes.append(
                f"{beyond_um:.3f} µm RMS come up in modes not asked for: "
                "forty electrodes make no purer shape"
            )
        return tuple(notes)

    def _report(
        self, lines: tuple[ModeLine, ...], command_v: Volts, method: Method, **more: Any
    ) -> ShapePlan:
        used = np.abs(VoltageScale.of(self.mirror.limits).to_unit(command_v))
        way_v = float(np.max(np.abs(command_v - self.mirror.read_back())))
        known: dict[str, Any] = {
            "fit": Fit.EXACT,
            "feasible": True,
            "scale": 1.0,
            "scale_that_fits": 1.0,
            "tolerance_um": float("nan"),
            "beyond_um": float("nan"),
        }
        return ShapePlan(
            lines=lines,
            command_v=command_v,
            method=method,
            hysteresis=self.hysteresis,
            stroke_used=float(used.max()),
            worst_actuator=int(np.argmax(used)),
            move_s=way_v / self.mirror.slew_v_per_s + self.mirror.settle_s,
            **{**known, **more},
        )

    def _symmetric_strokes(self) -> dict[Mode, float]:
        return {mode: min(both) for mode, both in self.strokes_um().items()}

    def _known(self) -> InfluenceMatrix:
        if self.influence is None:
            raise StateError(
                f"{self.mirror.name} has no influence matrix",
                hint="run `rig calibrate run influence`, or use the plate model with --model",
            )
        return self.influence

    def _refuse_rigid(self, coefficients: Coefficients) -> None:
        asked = [m for m, v in coefficients.values.items() if m in _RIGID and v != 0.0]
        if asked:
            names = ", ".join(mode_label(mode, coefficients.order) for mode in asked)
            raise UnsupportedError(
                f"{self.mirror.name} cannot make {names}: it has no tilt arms and no piston",
                hint="leave these modes out of the file, or set them to 0; "
                "move the camera or the beam instead",
            )

    def _refuse_uncontrolled(self, wanted: Coefficients) -> None:
        extra = [m for m, v in wanted.values.items() if v != 0.0 and m not in self._asked]
        extra = [m for m in extra if m not in _RIGID]
        if extra:
            names = ", ".join(mode_label(mode, wanted.order) for mode in extra)
            raise ConfigError(
                f"{self.mirror.name} cannot set {names} one by one",
                hint="it sets Noll 4 to 15; leave the others out",
            )
