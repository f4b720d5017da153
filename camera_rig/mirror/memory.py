"""The hysteresis of one mirror, followed from command to command and kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from camera_rig.contracts import Mirror, MirrorEvent
from camera_rig.errors import StateError
from camera_rig.mirror._scale import VoltageScale
from camera_rig.mirror._store import read_json, write_json
from camera_rig.mirror.creep import Creep, CreepModel
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators

Array = np.ndarray[Any, np.dtype[np.float64]]

_SAME_V = 0.5


class HysteresisMemory:
    """Follows every command of a mirror and turns responses into voltages.

    What is not known is not guessed: the memory carries the lowest and the highest
    place every pin could have. Both meet after a full swing (a relax sequence begins
    with one); until then :attr:`uncertainty` says how wrong the answer may be.

    Belongs to the mirror's thread. Not offered: use beside the maker's own
    compensation. Two corrections of one error make a new one.

    Args:
        model: Response of the electrodes.
        path: File that keeps the memory between sessions; None keeps nothing.
        creep: Creep of the electrodes, where a record showed it. Its past is not kept: at
            the start of a session the mirror counts as at rest.
    """

    def __init__(
        self, model: PlayModel, path: Path | None = None, creep: CreepModel | None = None
    ) -> None:
        self.model = model
        self._path = path
        self._creep_model = creep
        self._creep: Creep | None = None
        self._mirror: Mirror | None = None
        self._scale: VoltageScale | None = None
        self._lowest = PlayOperators(model)
        self._highest = PlayOperators(model)
        self._last_v = np.zeros(model.actuators)

    def attach(self, mirror: Mirror) -> None:
        """Follow ``mirror`` from now on; take up the kept memory if it still holds.

        It holds when the last session ended in order and the mirror still has the
        voltages it had then. Opening some mirrors resets them, and then it does not.

        Raises:
            StateError: The mirror compensates itself, or has another number of
                actuators.
        """
        if mirror.compensates_hysteresis:
            raise StateError(
                f"{mirror.name} compensates its hysteresis itself",
                hint="use the maker's compensation or ours, never both",
            )
        if mirror.actuators != self.model.actuators:
            raise StateError(
                f"the hysteresis model has {self.model.actuators} actuators, "
                f"{mirror.name} has {mirror.actuators}",
                hint="fit the hysteresis of this mirror",
            )
        self._scale = VoltageScale.of(mirror.limits)
        self._mirror = mirror
        self._last_v = mirror.read_back()
        kept = self._kept(mirror.info.serial)
        if kept is None:
            self._start_unknown(self._scale.to_unit(self._last_v))
        else:
            self._lowest, self._highest = kept
        if self._creep_model is not None:
            now = self._best().preview(self._scale.to_unit(self._last_v))
            self._creep = Creep(self._creep_model, now, mirror.clock.now_ns() * 1e-9)
        self._save(clean=False)
        mirror.observers.append(self._follow)

    def detach(self) -> None:
        """Stop following and keep the memory; harmless when not attached."""
        if self._mirror is None:
            return
        self._save(clean=True)
        self._mirror.observers.remove(self._follow)
        self._mirror = None

    def notice(self, command_v: Array) -> None:
        """Compare with voltages read back (V): a move nobody told of voids the memory."""
        if np.any(np.abs(np.asarray(command_v) - self._last_v) >= _SAME_V):
            self._last_v = np.array(command_v, dtype=np.float64)
            self._start_unknown(self._following().to_unit(self._last_v))

    @property
    def uncertainty(self) -> float:
        """Largest possible error of a response (normalised), from the unknown past."""
        gap = self.model.weights * (self._highest.pins - self._lowest.pins)
        return float(np.max(np.sum(gap, axis=1)))

    def reach(self) -> tuple[Array, Array]:
        """Return the lowest and highest responses that the voltage limits allow now."""
        scale, best, drift = self._following(), self._best(), self._drift()
        return best.preview(scale.low) + drift, best.preview(scale.high) + drift

    def response(self, command_v: Array) -> Array:
        """Return the response that ``command_v`` (V) would have now."""
        return self._best().preview(self._following().to_unit(command_v)) + self._drift()

    def command_v(self, response: Array) -> Array:
        """Return the voltages (V) that give ``response`` from here; may exceed the limits."""
        return self._following().to_volts(self._best().inverse(response - self._drift()))

    def _best(self) -> PlayOperators:
        return PlayOperators(self.model, (self._lowest.pins + self._highest.pins) / 2.0)

    def _drift(self) -> Array:
        """What creep adds to every response now."""
        if self._creep is None or self._mirror is None:
            return np.zeros(self.model.actuators)
        return self._creep.offset(self._mirror.clock.now_ns() * 1e-9)

    def _following(self) -> VoltageScale:
        if self._scale is None:
            raise StateError("the hysteresis memory follows no mirror", hint="call attach() first")
        return self._scale

    def _follow(self, event: MirrorEvent) -> None:
        unit = self._following().to_unit(event.command_v)
        self._lowest.advance(unit)
        self._highest.advance(unit)
        self._last_v = event.command_v.copy()
        if self._creep is not None:
            self._creep.hold(self._best().preview(unit), event.at_ns * 1e-9)

    def _start_unknown(self, unit: Array) -> None:
        radii = self.model.radii
        # A pin never leaves the span that a full swing gives it.
        edge = np.maximum(0.0, 1.0 - radii)
        column = unit[:, None]
        self._lowest = PlayOperators(self.model, np.maximum(column - radii, -edge))
        self._highest = PlayOperators(self.model, np.minimum(column + radii, edge))

    def _kept(self, serial: str) -> tuple[PlayOperators, PlayOperators] | None:
        if self._path is None or not self._path.exists():
            return None
        data = read_json(self._path)
        same = (
            data.get("clean") is True
            and data.get("serial") == serial
            and data.get("model") == self.model.to_dict()
            and np.shape(data["last_v"]) == self._last_v.shape
            and bool(np.all(np.abs(np.asarray(data["last_v"]) - self._last_v) < _SAME_V))
        )
        if not same:
            return None
        return (
            PlayOperators(self.model, np.asarray(data["lowest"])),
            PlayOperators(self.model, np.asarray(data["highest"])),
        )

    def _save(self, *, clean: bool) -> None:
        if self._path is None or self._mirror is None:
            return
        write_json(
            self._path,
            {
                # Not clean means: commands were sent after this was written.
                "clean": clean,
                "serial": self._mirror.info.serial,
                "last_v": self._last_v.tolist(),
                "lowest": self._lowest.pins.tolist(),
                "highest": self._highest.pins.tolist(),
                "model": self.model.to_dict(),
            },
        )
