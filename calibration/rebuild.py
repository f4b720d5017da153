"""A simulated twin of this very rig, from its calibrations in use.

Everything that was measured becomes a hidden fact of the twin; what was not measured keeps
the twin's default, and both are listed. The twin of a rig is where a change of plan is
tried before the rig is touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.artifact import Artifact, CalibrationStore
from calibration.plane_map import PlaneMap, rms
from camera_rig.config import RigConfig
from camera_rig.errors import StateError, StorageError
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.mirror.influence import InfluenceMatrix
from camera_rig.optics import Order, from_mode
from camera_rig.twin.geometry import Geometry

__all__ = ["Rebuilt", "rebuild"]

Vector = npt.NDArray[np.float64]

PARTS = ("sensor", "sync", "psf", "registration", "influence")
WAVE_UM = 0.55
_STILL_BENCH = {"focus_drift_um": 0.0}


@dataclass(frozen=True)
class Rebuilt:
    """A twin that was written.

    Args:
        path: Its configuration file.
        used: Identifier of each calibration it is made of, by procedure.
        missing: Procedures without a calibration in use: there the twin has its defaults.
        notes: What the twin cannot show of what was measured.
    """

    path: Path
    used: dict[str, str]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass
class _Draft:
    """The twin section in the making."""

    folder: Path
    twin: dict[str, Any] = field(default_factory=lambda: {"seed": 1, "scene": {"kind": "flat"}})
    notes: list[str] = field(default_factory=list)

    def part(self, *names: str) -> dict[str, Any]:
        """Return a nested section, made when it is not there."""
        here = self.twin
        for name in names:
            here = here.setdefault(name, {})
        return here


def rebuild(config: RigConfig, store: CalibrationStore, folder: Path) -> Rebuilt:
    """Write a configuration of a simulated rig that is like the measured one.

    Args:
        config: Of the rig that was measured.
        store: Its calibrations; those in use are taken.
        folder: A new folder for ``twin.yaml`` and the files it names.

    Raises:
        StateError: No calibration is in use.
        StorageError: The folder exists, or cannot be written.
    """
    import yaml

    active = {name: store.active(name) for name in PARTS}
    used = {name: artifact for name, artifact in active.items() if artifact is not None}
    if not used:
        raise StateError(
            "no calibration of this rig is in use", hint="run `rig calibrate all` first"
        )
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be made: {error}", hint="give a new folder with --out"
        ) from error
    draft = _Draft(folder.resolve())
    for name, artifact in used.items():
        _TAKERS[name](draft, artifact, store, config)
    path = folder / "twin.yaml"
    missing = tuple(name for name in PARTS if name not in used)
    text = yaml.safe_dump(_whole(config, draft), sort_keys=False)
    path.write_text(_header(config, used, missing, draft.notes) + text, encoding="utf-8")
    return Rebuilt(
        path=path,
        used={name: artifact.id for name, artifact in used.items()},
        missing=missing,
        notes=tuple(draft.notes),
    )


def _sensor(draft: _Draft, artifact: Artifact, store: CalibrationStore, config: RigConfig) -> None:
    figures = artifact.figures
    flat = store.arrays(artifact)["flat"]
    height, width = flat.shape
    sensor = draft.part(str(artifact.payload["role"]), "sensor")
    sensor |= {
        "size": [width, height],
        "read_noise_e": figures["read_noise_e"],
        "dark_e_per_s": figures["dark_e_per_s"],
        "full_well_e": figures["saturation_e"],
        "response_spread": min(figures["flat_spread"], 0.1),
        "vignetting": _vignetting(flat),
        "hot_pixels": round(figures["hot_pixels"]),
    }
    if figures["iso"]:
        # The twin states its gain at the lowest speed; the calibration was made there.
        slowest = min(_twin_isos())
        sensor["gain_e_per_dn"] = figures["gain_e_per_dn"] * figures["iso"] / slowest


def _sync(draft: _Draft, artifact: Artifact, store: CalibrationStore, config: RigConfig) -> None:
    clock = artifact.payload["clock"]
    draft.part("privacy", "timing").update(clock_offset_s=0.0, drift_ppm=0.0)
    side = draft.part("side", "timing")
    side.update(clock_offset_s=clock["offset_ns"] * 1e-9, drift_ppm=clock["drift_ppm"])
    if artifact.payload["by"] == "light":
        # Each switch was seen once by each camera: half of the scatter is either's.
        jitter_s = clock["jitter_ns"] * 1e-9 / np.sqrt(2.0)
        for role in ("privacy", "side"):
            draft.part(role, "timing")["stamp_jitter_s"] = float(jitter_s)


def _psf(draft: _Draft, artifact: Artifact, store: CalibrationStore, config: RigConfig) -> None:
    um = {int(j): float(v) for j, v in artifact.payload["shape_um"].items()}
    draft.part("light_path")["static_noll"] = {j: um[j] / WAVE_UM for j in sorted(um)}
    draft.part("light_path").update(_STILL_BENCH)
    draft.part("mirror")["warm_up_c"] = 0.0


def _registration(
    draft: _Draft, artifact: Artifact, store: CalibrationStore, config: RigConfig
) -> None:
    """Take the side camera as mounted perfectly: only the difference can be seen."""
    from scipy.optimize import least_squares

    p = artifact.payload
    sizes = {role: (int(p[f"{role}_size"][0]), int(p[f"{role}_size"][1])) for role in _ROLES}
    mapped = PlaneMap(np.array(p["parameters"]), sizes["side"], sizes["privacy"])
    grid = mapped.grid(17, 11)
    px_per_mm = {
        role: branch.magnification(config.bench.object_distance_mm)
        * 1000.0
        / branch.pixel_um(sizes[role][0])
        for role, branch in (("side", config.bench.side), ("privacy", config.bench.privacy))
    }

    def pair(x: Vector) -> tuple[Geometry, Geometry]:
        size, shift = sizes["privacy"], (float(x[2]), float(x[3]))
        return (
            Geometry(sizes["side"], px_per_mm["side"], distortion=float(x[5])),
            Geometry(size, px_per_mm["privacy"] * x[0], float(x[1]), shift, float(x[4])),
        )

    def gap(x: Vector) -> Vector:
        side, privacy = pair(x)
        return np.asarray((privacy.to_px(side.to_mm(grid)) - mapped(grid)).ravel())

    start = [1.0, 0.0, 0.0, 0.0, mapped.parameters[9], mapped.parameters[8]]
    found = least_squares(gap, start, x_scale=[1e-3, 0.1, 1.0, 1.0, 1e-3, 1e-3])
    magnification, turn, right, down, privacy_k, side_k = (float(v) for v in found.x)
    path = draft.part("light_path")
    path["side"] = _mounting(1.0, 0.0, (0.0, 0.0), side_k)
    path["privacy"] = _mounting(magnification, turn, (right, down), privacy_k)
    left_px = rms(found.fun.reshape(-1, 2))
    draft.notes.append(
        f"the twin's mounting leaves {left_px:.2f} px RMS of the registration unexplained"
    )
    for role in _ROLES:
        draft.part(role, "sensor")["size"] = list(sizes[role])


def _influence(
    draft: _Draft, artifact: Artifact, store: CalibrationStore, config: RigConfig
) -> None:
    folder = store.folder(artifact)
    matrix = InfluenceMatrix.load(folder / "influence.json")
    mirror = draft.part("mirror")
    matrix.save(draft.folder / "influence.json")
    mirror["influence"] = str(draft.folder / "influence.json")
    if matrix.range_v is not None:
        mirror["range_v"] = list(matrix.range_v)
    moved_um = np.zeros(len(matrix.modes))
    if (folder / "hysteresis.json").exists():
        data = json.loads((folder / "hysteresis.json").read_text(encoding="utf-8"))
        (draft.folder / "hysteresis.json").write_text(json.dumps(data) + "\n", encoding="utf-8")
        mirror["hysteresis"] = str(draft.folder / "hysteresis.json")
        moved_um = matrix.um_per_unit @ _resting_response(PlayModel.from_dict(data))
    else:
        draft.notes.append("no hysteresis was measured: the twin has its default loop")
    if (folder / "creep.json").exists():
        data = json.loads((folder / "creep.json").read_text(encoding="utf-8"))
        mirror["creep_per_decade"] = data["per_decade"]
    else:
        draft.notes.append("no creep was measured: the twin has its default")
    if artifact.mirror_c is not None:
        mirror["temperature_c"] = artifact.mirror_c
    mirror["warm_up_c"] = 0.0
    # What was seen at rest is bench and mirror together, and a loop's zero is a convention:
    # the bench has what the twin's mirror does not show where it relaxes to.
    seen = draft.part("light_path").get("static_noll", {})
    static = {}
    for place, mode in enumerate(matrix.modes):
        if mode[0] >= 2:
            j = from_mode(Order.NOLL, mode)
            at_rest = seen.get(j, float(matrix.rest_um[place]) / WAVE_UM)
            static[j] = at_rest - float(moved_um[place]) / WAVE_UM
    draft.part("light_path")["static_noll"] = {**seen, **static}
    draft.part("light_path").update(_STILL_BENCH)


_ROLES = ("side", "privacy")
_Taker = Callable[[_Draft, Artifact, CalibrationStore, RigConfig], None]
_TAKERS: Mapping[str, _Taker] = {
    "sensor": _sensor,
    "sync": _sync,
    "psf": _psf,
    "registration": _registration,
    "influence": _influence,
}


def _resting_response(model: PlayModel) -> Vector:
    """Return the response of each electrode in mid-range after a relax sequence."""
    play, count = PlayOperators(model), model.actuators
    for k in range(40):
        play.advance(np.full(count, (1 - k / 39) * (1 if k % 2 == 0 else -1)))
    return np.asarray(play.advance(np.zeros(count)))


def _mounting(
    magnification: float, rotation_deg: float, shift_px: tuple[float, float], distortion: float
) -> dict[str, Any]:
    return {
        "magnification": magnification,
        "rotation_deg": rotation_deg,
        "shift_px": list(shift_px),
        "distortion": distortion,
    }


def _vignetting(flat: npt.NDArray[np.floating]) -> float:
    """Return the share of light lost in the corners, by a parabola through the flat."""
    height, width = flat.shape
    y, x = np.mgrid[:height, :width]
    square = ((x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2) / (
        (width**2 + height**2) / 4
    )
    slope, level = np.polyfit(square.ravel(), flat.astype(float).ravel(), 1)
    return float(np.clip(-slope / level, 0.0, 1.0))


def _twin_isos() -> tuple[int, ...]:
    from camera_rig.twin.sensor import SensorOptions

    return SensorOptions().isos


def _whole(config: RigConfig, draft: _Draft) -> dict[str, Any]:
    devices: dict[str, Any] = {}
    for role, entry in config.devices.items():
        serial = entry.options.serial or role
        devices[role] = {"driver": "twin", "serial": f"TWIN-OF-{serial}"}
        if not entry.required:
            devices[role]["required"] = False
        if shape := getattr(entry, "shape", None):
            devices[role]["shape"] = shape
    name = f"{config.name}-twin"
    return {
        "schema": 1,
        "name": name,
        "bench": config.bench.model_dump(mode="json"),
        "devices": devices,
        # Its own folder: what is measured on the twin is no calibration of the rig.
        "calibration": {"root": str(draft.folder / "calibration")},
        "twin": draft.twin,
    }


def _header(
    config: RigConfig, used: Mapping[str, Artifact], missing: tuple[str, ...], notes: list[str]
) -> str:
    lines = [f"A simulated twin of {config.name!r}, rebuilt from its calibrations in use:"]
    lines += [f"  {name}: {artifact.id} of {artifact.made_at}" for name, artifact in used.items()]
    if missing:
        lines.append(f"Not measured, so as the simulator has it: {', '.join(missing)}.")
    lines.append("Nor were measured: warming and wander of focus (both are off).")
    lines += [f"Note: {note}." for note in notes]
    return "".join(f"# {line}\n" for line in lines)
