"""The mirror panel's side of the mirror: planned on paper, moved only while a card is shown."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from camera_rig.contracts import DeviceContext, DeviceInfo, DriverOptions, Mirror, Volts
from camera_rig.errors import StateError
from camera_rig.mirror.influence import InfluenceModel
from camera_rig.mirror.modal import ModalMirror
from camera_rig.mirror.names import mode_name, mode_numbers
from camera_rig.mirror.reference import MirrorFolder
from camera_rig.mirror.shape import ShapePlan
from camera_rig.optics import Coefficients, Mode, Order, Unit
from camera_rig.optics.zernike import to_mode
from cli.preview import psf

if TYPE_CHECKING:
    from collections.abc import Callable

    from camera_rig.rig import Rig
    from models.runtime.live import LivePipeline

__all__ = ["MirrorDesk", "PaperMirror"]


class PaperMirror(Mirror):
    """A mirror on paper: a real one's limits, to plan with while that one is not asked.

    The real mirror is watched by the live pipeline; asking it for a plan at every move of
    a slider would disturb the watch. Nothing moves here.

    Args:
        real: The open mirror to take the facts from.
    """

    def __init__(self, real: Mirror) -> None:
        super().__init__(DriverOptions(), DeviceContext(real.name, real.clock))
        self._limits, self._real_info = real.limits.copy(), real.info
        self._slew_v_per_s, self._settle_s = real.slew_v_per_s, real.settle_s
        self._compensates = real.compensates_hysteresis
        self._command_v: Volts = np.asarray(self._limits.mean(axis=1))

    @property
    def actuators(self) -> int:
        """Number of actuators."""
        return len(self._limits)

    @property
    def limits(self) -> npt.NDArray[np.float64]:
        """Lowest and highest voltage per actuator, V, shape (actuators, 2)."""
        return self._limits

    @property
    def slew_v_per_s(self) -> float:
        """Fastest change of one actuator, V/s."""
        return self._slew_v_per_s

    @property
    def settle_s(self) -> float:
        """Time after a command until the shape stands, s."""
        return self._settle_s

    @property
    def compensates_hysteresis(self) -> bool:
        """Whether the maker's own hysteresis compensation is on."""
        return self._compensates

    def _do_open(self) -> None:
        pass

    def _do_close(self) -> None:
        pass

    def _do_info(self) -> DeviceInfo:
        return self._real_info

    def _do_apply(self, command_v: Volts) -> None:
        self._command_v = command_v

    def _do_read_back(self) -> Volts:
        return self._command_v


@dataclass(frozen=True)
class _Slider:
    """One mode of the panel: its number in Noll's order, name, ends and learned value."""

    noll: int
    thorlabs: int
    name: str
    low_um: float
    high_um: float
    learned_um: float


class MirrorDesk:
    """What the panel may ask of the mirror. Safe from any thread.

    A shape set here is never the mirror's safe shape: when anything goes wrong, and when
    the preview ends, the mirror goes back to the shape that hides faces.

    Args:
        live: The pipeline, entered: the only way to the mirror while it runs.
        rig: The open rig.
        learned: The shape that hides faces.
        busy: Why the mirror must not be moved now, empty when it may.
    """

    def __init__(
        self, live: LivePipeline, rig: Rig, learned: Coefficients, busy: Callable[[], str]
    ) -> None:
        self._live, self._busy, self._bench = live, busy, rig.config.bench
        folder = MirrorFolder(rig.config.storage.root, rig.mirror.info.serial)
        plate = InfluenceModel(self._bench.mirror, self._bench.mirror_pupil_mm)
        self._influence = folder.influence() or plate.matrix()
        paper = PaperMirror(rig.mirror)
        paper.open()
        self._modal = ModalMirror(paper, self._influence)
        self._planning, self._moving = threading.Lock(), threading.Lock()
        strokes = self._modal.strokes_um()
        plan = self._modal.plan(learned)
        self._learned = {line.mode: line.reachable_um for line in plan.lines}
        self._sliders = [self._slider(mode, strokes[mode]) for mode in strokes]
        self._applied: dict[int, float] | None = None

    def panel(self) -> dict[str, Any]:
        """Return the sliders with their ends, µm RMS, and where the limits come from."""
        return {
            "unit": "µm RMS",
            "origin": self._influence.provenance.kind,
            "modes": [vars(slider) for slider in self._sliders],
            **self.plan(self.learned_um()),
        }

    def learned_um(self) -> dict[int, float]:
        """Return the shape that hides faces, Noll number to µm RMS."""
        return {slider.noll: slider.learned_um for slider in self._sliders}

    def plan(self, values_um: Mapping[int, float]) -> dict[str, Any]:
        """Tell whether a shape (Noll number to µm RMS) can be reached, and its PSF.

        Raises:
            ConfigError: A mode that the mirror cannot set.
        """
        with self._planning:
            plan = self._modal.plan(self._wanted(values_um))
        return {
            "values_um": {str(noll): value for noll, value in sorted(values_um.items())},
            "feasible": plan.feasible,
            "why_not": _why_not(plan),
            "excess_um": {
                str(mode_numbers(line.mode)["noll"]): line.excess_um
                for line in plan.lines
                if line.excess_um
            },
            "scale_that_fits": plan.scale_that_fits,
            "stroke_used": plan.stroke_used,
            "psf": psf.predicted(plan.shape_um, self._bench),
        }

    def apply(self, values_um: Mapping[int, float]) -> dict[str, Any]:
        """Move the mirror; a card is shown from before the move until the learned shape is back.

        Raises:
            SafetyError: Out of reach; names the modes and the excess. Nothing was sent.
            StateError: The mirror must not be moved now.
        """
        wanted = self._wanted(values_um)
        with self._planning:
            self._modal.plan(wanted).require_reachable()
        # The pipeline's own session journals the command and follows its hysteresis.
        with self._alone(), self._live.mirror() as mirror:
            modal = ModalMirror(mirror, self._influence)
            plan = modal.plan(wanted)
            plan.require_reachable()
            modal.send(plan.command_v, reason="preview panel", keep=False)
            self._applied = dict(values_um)
        return self.state()

    def restore(self) -> dict[str, Any]:
        """Put the learned shape back.

        Raises:
            StateError: The mirror must not be moved now.
        """
        with self._alone():
            self._live.restore_shape()
            self._applied = None
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return what was set here: None while the learned shape was not left."""
        applied = self._applied
        return {
            "applied_um": None if applied is None else {str(k): v for k, v in applied.items()},
            "moving": self._moving.locked(),
            "why_not": self._busy(),
        }

    def _alone(self) -> _Alone:
        if why := self._busy():
            raise StateError(f"the mirror stays as it is: {why}", hint="end the take first")
        return _Alone(self._moving)

    def _wanted(self, values_um: Mapping[int, float]) -> Coefficients:
        values = {to_mode(Order.NOLL, noll): value for noll, value in values_um.items()}
        return Coefficients(values, Unit.UM_RMS)

    def _slider(self, mode: Mode, ends_um: tuple[float, float]) -> _Slider:
        numbers = mode_numbers(mode)
        learned_um = self._learned.get(mode, 0.0)
        return _Slider(
            numbers["noll"],
            numbers["thorlabs"],
            mode_name(mode),
            # The learned value must have its place even where other modes help to reach it.
            min(-ends_um[0], learned_um),
            max(ends_um[1], learned_um),
            learned_um,
        )


class _Alone:
    """Holds the mirror for one mover; a second one is told, not queued."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        """Take it, or StateError."""
        if not self._lock.acquire(blocking=False):
            raise StateError("the mirror is being moved", hint="wait until it stands")

    def __exit__(self, *_: object) -> None:
        """Let it go."""
        self._lock.release()


def _why_not(plan: ShapePlan) -> str:
    if plan.feasible:
        return ""
    parts = [
        f"{mode_name(line.mode)} is {abs(line.excess_um):.3f} µm too much"
        for line in plan.lines
        if line.excess_um
    ]
    return "together out of reach: " + ", ".join(parts)
