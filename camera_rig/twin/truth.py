"""The hidden truth of a simulated world, for scoring and for nothing else.

Only ``world.truth`` leads here. A run that is to be scored writes it beside its data as
a file of its own (:meth:`Truth.write`); no device and no recording contains any of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import StorageError, UnsupportedError
from camera_rig.mirror.hysteresis import PlayModel
from camera_rig.mirror.influence import InfluenceMatrix, Provenance
from camera_rig.optics import Coefficients, Pupil, Unit
from camera_rig.twin.geometry import Geometry
from camera_rig.twin.heads import HeadTruth
from camera_rig.twin.mirror import MODES, Footprint
from camera_rig.twin.scene import SceneTruth
from camera_rig.twin.timing import HiddenClock

if TYPE_CHECKING:
    from camera_rig.twin.world import World

__all__ = ["Truth"]

SCHEMA = 1


class Truth:
    """Everything a scorer may ask of one world.

    Times named ``at_ns`` are readings of the rig's clock, in ns; None is now.

    Args:
        world: The world to tell of.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def wavefront(self, at_ns: int | None = None) -> Coefficients:
        """Return the privacy arm's whole aberration, waves RMS at 550 nm, Noll 1 to 66.

        In the pupil as seen in the upright picture, y up: ``oriented(rows_down())``
        gives the spot as it stands in a frame.
        """
        um = self._world.wavefront_um("privacy", self._seconds(at_ns))
        return _coefficients(um)

    def static_wavefront(self, at_ns: int | None = None) -> Coefficients:
        """Return the bench's own part of it, focus drift included."""
        return _coefficients(self._world.static.at(self._seconds(at_ns)))

    def mirror_wavefront(self, at_ns: int | None = None) -> Coefficients:
        """Return the mirror's part of it."""
        return _coefficients(self._world.mirror.wavefront_um(self._seconds(at_ns)))

    def influence(self) -> InfluenceMatrix:
        """Return what each electrode really does, µm RMS per unit of response."""
        world = self._world
        return InfluenceMatrix(
            modes=MODES,
            um_per_unit=world.mirror.influence_um,
            beam_diameter_mm=world.mirror.footprint.diameter_mm,
            provenance=Provenance("model", note="truth of a simulated mirror"),
            range_v=world.options.mirror.range_v,
        )

    def mirror_response(self, at_ns: int | None = None) -> NDArray[np.float64]:
        """Return the normalised response of each electrode, creep included."""
        return self._world.mirror.response(self._seconds(at_ns))

    def play_model(self) -> PlayModel:
        """Return the electrodes' hysteresis."""
        return self._world.mirror.play_model

    def command_for(self, wanted: Coefficients) -> NDArray[np.float64]:
        """Return the voltages (V) that bring the whole arm nearest to a wavefront now.

        What a perfect calibration would send: it knows influence, hysteresis and the
        bench's own aberration. Piston, tip and tilt are left alone. For scoring and
        for setting scenes; a calibration must find them itself.
        """
        from scipy.optimize import lsq_linear

        world = self._world
        rows = [place for place, (n, _) in enumerate(MODES) if n >= 2]
        target = wanted.to(unit=Unit.UM_RMS).array(MODES) - world.static.at(world.now_s())
        found = lsq_linear(
            world.mirror.influence_um[rows],
            target[rows],
            bounds=(-0.98, 0.98),
            tol=1e-8,
            lsmr_tol="auto",
        )
        return world.mirror.volts_for(found.x)

    def footprint(self) -> Footprint:
        """Return where the beam really meets the mirror."""
        return self._world.mirror.footprint

    def psf(self, role: str, at_ns: int | None = None) -> NDArray[np.float64]:
        """Return the PSF on sensor pixels, (3, n, n), axis at ``n // 2``, row 0 on top."""
        um = self._world.wavefront_um(role, self._seconds(at_ns))
        return self._world.cameras[role].arm.kernel(um)

    def pupil(self, role: str) -> Pupil:
        """Return pupil, distance and pixels of one arm."""
        return self._world.cameras[role].arm.pupil

    def geometry(self, role: str) -> Geometry:
        """Return where points of the object plane land on a camera."""
        return self._world.cameras[role].arm.geometry

    def side_to_privacy(self, xy_px: NDArray[Any]) -> NDArray[np.float64]:
        """Return where the privacy camera has what the side camera has at ``xy_px`` (px)."""
        return self.geometry("privacy").to_px(self.geometry("side").to_mm(xy_px))

    def clock(self, role: str) -> HiddenClock:
        """Return offset and drift of one camera's stamps."""
        return self._world.cameras[role].clock

    def true_time_ns(self, role: str, sequence: int, session: int | None = None) -> int:
        """Return when live frame ``sequence`` was really exposed (middle), rig clock ns.

        Args:
            role: ``privacy`` or ``side``.
            sequence: The frame's number.
            session: Which start of live view, from 1; None: the last one.
        """
        return self._world.to_ns(self._world.cameras[role].times(session).true_s(sequence))

    def scene(self, at_ns: int | None = None) -> SceneTruth:
        """Return what stands before the rig."""
        return self._world.scene.truth(self._seconds(at_ns))

    def landmarks_px(self, role: str, at_ns: int | None = None) -> NDArray[np.float64]:
        """Return the 68 landmarks of a head scene on one camera's sensor, px.

        The privacy camera's are those of the chief ray: a bent mirror blurs around them.
        """
        scene = self._world.scene
        truth = self.scene(at_ns)
        if not isinstance(truth, HeadTruth):
            raise UnsupportedError(
                f"a {truth.kind} scene has no landmarks", hint="put a head before the rig"
            )
        place = truth.landmarks_px.astype(np.float64)
        field = scene.field
        centre = np.array([(field.width_px - 1) / 2, (field.height_px - 1) / 2])
        return self.geometry(role).to_px((place - centre) * field.mm_per_px)

    def gain_e_per_dn(self, role: str, iso: int) -> float:
        """Return electrons per raw step of one camera at an ISO speed."""
        return self._world.cameras[role].sensor.gain_e_per_dn(iso)

    def to_dict(self) -> dict[str, Any]:
        """Return all constant truths, JSON-able, units in the names."""
        world = self._world
        cameras = {
            role: {
                "geometry": vars(self.geometry(role)) | {"size": list(self.geometry(role).size)},
                "clock_offset_s": camera.clock.offset_s,
                "clock_drift_ppm": camera.clock.drift_ppm,
                "pupil": vars(camera.arm.pupil),
                "electrons_per_s": camera.sensor.electrons_per_s.tolist(),
            }
            for role, camera in world.cameras.items()
        }
        return {
            "schema": SCHEMA,
            "seed": world.options.seed,
            "epoch_ns": world.epoch_ns,
            "options": world.options.model_dump(mode="json"),
            "bench": world.bench.model_dump(mode="json"),
            "static_noll_waves": _coefficients(world.static.um).numbers,
            "influence": self.influence().to_dict(),
            "hysteresis": self.play_model().to_dict(),
            "footprint": vars(world.mirror.footprint),
            "cameras": cameras,
        }

    def write(self, path: Path) -> None:
        """Write :meth:`to_dict` as JSON, aside and renamed; never over another file.

        Raises:
            StorageError: The file exists, or cannot be written.
        """
        if path.exists():
            raise StorageError(
                f"{path} exists already", hint="truth files are never overwritten: give a new name"
            )
        aside = path.with_name(path.name + ".part")
        try:
            aside.write_text(json.dumps(self.to_dict(), indent=1), encoding="utf-8")
            aside.replace(path)
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written: {error}", hint="check folder, space and rights"
            ) from error

    def _seconds(self, at_ns: int | None) -> float:
        if at_ns is None:
            return self._world.now_s()
        return (at_ns - self._world.epoch_ns) * 1e-9


def _coefficients(um: NDArray[np.float64]) -> Coefficients:
    values = {mode: float(value) for mode, value in zip(MODES, um, strict=True)}
    whole = Coefficients(values, Unit.UM_RMS, source="truth of a simulated bench")
    return whole.to(unit=Unit.WAVES_RMS, wavelength_nm=550.0)
