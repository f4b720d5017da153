"""Small worlds for tests: few pixels, a clock that moves by hand, no chance faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from camera_rig.bench import Bench
from camera_rig.clock import ManualClock
from camera_rig.contracts import DeviceContext
from camera_rig.twin.devices import TwinCamera, TwinLight, TwinMirror, TwinStage
from camera_rig.twin.faults import Fault, FaultKind
from camera_rig.twin.world import World, WorldOptions

SMALL = (192, 128)

CAMERA: dict[str, Any] = {
    "sensor": {"size": SMALL},
    "timing": {"drop_probability": 0.0},
}


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``more`` laid over it, level by level."""
    result = dict(base)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


@dataclass
class Lab:
    """A world with its clock and its devices."""

    world: World
    clock: ManualClock

    def device(self, name: str, **options: Any) -> Any:
        """Return an unopened twin device by role."""
        kind = {"mirror": TwinMirror, "stage": TwinStage, "light": TwinLight}.get(name, TwinCamera)
        return kind(kind.Options(**options), DeviceContext(name, self.clock, self.world))

    def inject(self, kind: FaultKind | str, device: str, **more: Any) -> None:
        """Let a fault begin now."""
        given = {"at_s": self.world.now_s(), "for_s": 1e6, **more}
        self.world.faults.inject(Fault(kind=FaultKind(kind), device=device, **given))


def lab(bench: Bench | None = None, **options: Any) -> Lab:
    """Return a small world; keyword arguments are laid over its options."""
    clock = ManualClock(start_ns=1_000_000_000)
    base: dict[str, Any] = {
        "privacy": CAMERA,
        "side": CAMERA,
        # Fewer pixels are larger: less light fills them.
        "light_path": {"white_cd_per_m2": 4000.0 * (SMALL[0] / 960) ** 2},
    }
    settings = WorldOptions.model_validate(merged(base, options))
    return Lab(World(settings, bench or Bench(), clock), clock)
