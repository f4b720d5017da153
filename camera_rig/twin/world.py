"""One seeded world behind all twin devices: scene, light, mirror, arms, cameras, faults.

Everything hidden follows from the configuration and one seed. Time is the rig's clock
counted from the moment the world was made; with a manual clock nothing waits, and the
same seed gives the same pixels on every run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.bench import Bench
from camera_rig.contracts import Clock
from camera_rig.errors import ConfigError
from camera_rig.twin import _random
from camera_rig.twin.cameras import CameraBody, CameraOptions, SideCameraOptions
from camera_rig.twin.exposure import Lamp
from camera_rig.twin.faults import FaultKind, FaultOptions, Faults, JumpingClock, Link, TwinDisk
from camera_rig.twin.lightpath import (
    LightPathOptions,
    Moment,
    StaticWavefront,
    arms,
    electrons_per_s,
)
from camera_rig.twin.mirror import MODES, MirrorBody, MirrorOptions
from camera_rig.twin.scene import Radiance, Scene
from camera_rig.twin.sensor import Sensor
from camera_rig.twin.stage import StageBody
from camera_rig.twin.staging import FlatOptions, SceneOptions, Staged, build_scene
from camera_rig.twin.targets import PointSource

if TYPE_CHECKING:
    from camera_rig.twin.truth import Truth

__all__ = ["CLOCK_STEP_S", "World", "WorldOptions"]

_log = logging.getLogger(__name__)
_DEFOCUS = MODES.index((2, 0))
CLOCK_STEP_S = 2e-9
"""World times nearer than this are one reading of the integer clock, s."""

# Smallest move of the stage that is drawn anew, mm: a hundredth of a pixel.
_STAGE_STEP_MM = 0.005


@runtime_checkable
class _Preparable(Protocol):
    """A scene that can do its work beforehand."""

    def prepare(self) -> None:
        """Do it."""
        ...


class WorldOptions(BaseModel):
    """The ``twin:`` part of a configuration.

    Args:
        seed: Everything that is not given follows from it.
        scene: What stands before the rig at the start.
        light_path: Splitter, arms, static aberration.
        mirror: The glass.
        privacy: Camera behind the mirror.
        side: Sharp camera.
        stage_travel_mm: Positions of the stage; its middle is where the scene says.
        stage_mm_per_s: Speed of the stage, mm/s.
        faults: What goes wrong, and when.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 1
    scene: SceneOptions = FlatOptions(kind="flat")
    light_path: LightPathOptions = LightPathOptions()
    mirror: MirrorOptions = MirrorOptions()
    privacy: CameraOptions = CameraOptions()
    side: SideCameraOptions = SideCameraOptions()
    stage_travel_mm: tuple[float, float] = (0.0, 100.0)
    stage_mm_per_s: float = Field(default=20.0, gt=0)
    faults: FaultOptions = FaultOptions()


class World:
    """The simulated laboratory. Devices of the twin share one.

    Thread-safe for the devices' use. The hidden facts are in :attr:`truth` alone; no
    device hands them out.

    Args:
        options: The ``twin:`` section.
        bench: Constants that lab and twin share.
        clock: The rig's clock. With a manual one the world is unpaced.
    """

    Options: ClassVar[type[WorldOptions]] = WorldOptions

    def __init__(self, options: WorldOptions, bench: Bench, clock: Clock) -> None:
        self.options, self.bench = options, bench
        self._raw_clock = clock
        self.epoch_ns = clock.now_ns()
        self.faults = Faults(options.faults, options.seed)
        self.clock: Clock = JumpingClock(clock, self.faults, self.epoch_ns)
        self.disk = TwinDisk(self.faults, clock, self.now_s)
        self.stage = StageBody(options.stage_travel_mm, options.stage_mm_per_s)
        self._staged: Staged | None = None
        self._staging = 0
        self._seen: list[tuple[Hashable, Radiance]] = []
        self._scene_lock = threading.RLock()
        self._wait_lock = threading.Lock()
        self.lamp = Lamp(options.scene.ambient, options.scene.lamp)
        self.mirror = MirrorBody(options.mirror, bench, _random.key(options.seed, "mirror"))
        self.static = StaticWavefront(options.light_path, _random.key(options.seed, "static"))
        self._browned: set[int] = set()
        self.cameras = self._make_cameras()

    @property
    def truth(self) -> Truth:
        """The one door to everything hidden, for scoring."""
        from camera_rig.twin.truth import Truth

        return Truth(self)

    @property
    def unpaced(self) -> bool:
        """Whether time moves only when somebody waits on it."""
        return hasattr(self._raw_clock, "advance")

    @property
    def scene(self) -> Scene:
        """What stands before the rig now."""
        return self._stage_scene().scene

    def set_scene(
        self, scene: Scene, *, ambient: float | None = None, lamp: float | None = None
    ) -> None:
        """Put something else before the rig, as a person in the lab would.

        Args:
            scene: The new scene.
            ambient: Brightness without the lamp, relative to white; None: as configured.
            lamp: What the lamp adds at full level; None: as configured.
        """
        options = self.options.scene
        self._put(
            Staged(
                scene,
                options.ambient if ambient is None else ambient,
                options.lamp if lamp is None else lamp,
            )
        )

    def stage_scene(self, options: SceneOptions) -> None:
        """Put a scene of the configuration's kinds before the rig, with its brightness."""
        self._put(build_scene(options, self.bench))

    def prepare(self) -> None:
        """Do now what would else delay the first frame: compile, render a clip.

        Only the first run on a machine takes time (some seconds for a talking head);
        later ones find the work done.
        """
        from camera_rig.twin import _kernels

        _kernels.warm()
        with self._scene_lock:
            scene = self._stage_scene().scene
            if isinstance(scene, _Preparable):
                _log.info("preparing_scene", extra={"scene": type(scene).__name__})
                scene.prepare()

    def now_s(self) -> float:
        """Return world time: seconds since the world was made."""
        return (self._raw_clock.now_ns() - self.epoch_ns) * 1e-9

    def to_ns(self, world_s: float) -> int:
        """Return the rig clock's reading at a world time, ns."""
        return self.epoch_ns + round(world_s * 1e9)

    def wait_until(self, world_s: float) -> None:
        """Wait until a world time (s); returns at once when it has passed.

        With a manual clock, threads that wait at the same time do so one after the
        other: each moves time to its own goal, not by its own distance.
        """
        if self.unpaced:
            with self._wait_lock:
                left_ns = self.to_ns(world_s) - self._raw_clock.now_ns()
                if left_ns > 0:
                    self._raw_clock.sleep(left_ns * 1e-9)
            return
        while (left_ns := self.to_ns(world_s) - self._raw_clock.now_ns()) > 0:
            self._raw_clock.sleep(left_ns * 1e-9)

    def link(self, role: str) -> Link:
        """Return the cable of one device."""
        return Link(role, self.faults, self._raw_clock, self.now_s)

    def command_mirror(self, volts: NDArray[np.float64]) -> None:
        """Apply voltages (V) now."""
        self.settle_power()
        self.mirror.command(volts, self.now_s())

    def mirror_has_power(self) -> bool:
        """Whether the mirror's supply is up now."""
        return self.faults.at(FaultKind.BROWN_OUT, "mirror", self.now_s()) is None

    def settle_power(self) -> None:
        """Let brown-outs that have begun take the voltages away, each once."""
        now_s = self.now_s()
        for place, fault in enumerate(self.faults.script):
            begun = fault.kind is FaultKind.BROWN_OUT and fault.at_s <= now_s
            if begun and place not in self._browned:
                self._browned.add(place)
                self.mirror.command(np.zeros(self.mirror.actuators), max(fault.at_s, 0.0))

    def wavefront_um(self, role: str, world_s: float) -> NDArray[np.float64]:
        """Return the aberration of one arm, µm RMS per mode of the twin's modes."""
        if role == "privacy":
            return self.mirror.wavefront_um(world_s) + self.static.at(world_s)
        um = np.zeros(len(MODES))
        um[_DEFOCUS] = self.options.light_path.side_defocus_um
        return um

    def close(self) -> None:
        """Let go of pictures and files."""
        for camera in self.cameras.values():
            camera.arm.forget()

    def moment(self, role: str, world_s: float, exact: bool) -> Moment:
        """Return what one arm sees at a world time (s), to be formed exactly or quickly."""
        with self._scene_lock:
            scene = self._stage_scene().scene
            return Moment(
                scene=scene,
                key=self._key(world_s),
                radiance=lambda: self._radiance(scene, world_s),
                source_mm=self.stage.offset_mm(world_s),
                wavefront_um=self.wavefront_um(role, world_s),
                exact=exact,
            )

    def _radiance(self, scene: Scene, world_s: float) -> Radiance:
        # Scenes decode and render with one state: one thread at a time. The two cameras
        # mostly want the same picture, and decoding it costs more than keeping two.
        with self._scene_lock:
            key = self._key(world_s)
            for kept, picture in self._seen:
                if kept == key:
                    return picture
            picture = scene.radiance(world_s)
            self._seen = [(key, picture), *self._seen[:1]]
            return picture

    def _key(self, world_s: float) -> Hashable:
        scene = self._stage_scene().scene
        if isinstance(scene, PointSource):
            return (self._staging, round(self.stage.offset_mm(world_s) / _STAGE_STEP_MM))
        return (self._staging, scene.frame_key(world_s))

    def _privacy_key(self, world_s: float) -> Hashable:
        self.settle_power()
        return (self._key(world_s), self.mirror.step_number(world_s))

    def _stage_scene(self) -> Staged:
        with self._scene_lock:
            if self._staged is None:
                self._put(build_scene(self.options.scene, self.bench))
            assert self._staged is not None  # noqa: S101 - narrows for the type checker
            return self._staged

    def _put(self, staged: Staged) -> None:
        with self._scene_lock:
            self._staged = staged
            self._staging += 1
            self._seen = []
            self.lamp.set_mix(staged.ambient, staged.lamp)

    def _make_cameras(self) -> dict[str, CameraBody]:
        o = self.options
        kinds = {"privacy": o.privacy, "side": o.side}
        sizes = {role: camera.sensor.size for role, camera in kinds.items()}
        path = o.light_path
        shares = {
            "privacy": path.share_to_privacy * path.mirror_reflectivity,
            "side": 1.0 - path.share_to_privacy,
        }
        if shares["side"] <= 0.0:
            raise ConfigError(
                "the splitter sends no light to the side camera",
                hint="set light_path.share_to_privacy below 1",
            )
        cameras = {}
        for role, arm in arms(path, self.bench, sizes, o.seed).items():
            camera = kinds[role]
            flux = electrons_per_s(path, arm.pupil, camera.sensor.quantum_efficiency, shares[role])
            cameras[role] = CameraBody(
                role,
                camera,
                arm,
                Sensor(camera.sensor, flux, _random.key(o.seed, "sensor", role)),
                moment=partial(self.moment, role),
                key_at=self._privacy_key if role == "privacy" else self._key,
                lamp=self.lamp,
                faults=self.faults,
                seed=o.seed,
            )
        return cameras
