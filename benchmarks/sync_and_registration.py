"""Clocks, geometry and sensor gain over many worlds, against the twin's hidden truth.

    python benchmarks/sync_and_registration.py [--only light,board,sensor,motion,scene] [--seeds N]

Each seed is another pair of clocks, another mounting, another sensor. Clocks and gain are
measured on a sensor of 240 x 160 px (a stamp does not know how many pixels it belongs to,
and fewer pixels make a gain worse, not better); geometry on the full one. Registration
stands on a PSF calibration; here that is the truth with an error of 2 thousandths of a wave
in each mode, as `benchmarks/calibration.py` finds it, so that geometry alone is judged.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from calibration.artifact import Artifact, CalibrationStore
from calibration.operator import SceneRequest, TwinOperator
from calibration.plane_map import PlaneMap, rms
from calibration.procedure import Context, Procedure, present, run
from calibration.registration import RegistrationProcedure
from calibration.sensor import SensorProcedure
from calibration.sync import SyncBy, SyncProcedure
from camera_rig.clock import ManualClock
from camera_rig.config import RigConfig, load_config
from camera_rig.optics import Order, from_mode
from camera_rig.rig import Rig

RESULT = Path(__file__).parent / "results" / "sync_and_registration.json"
SMALL = (240, 160)
PSF_ERROR_WAVES = 0.002
SEEDS = {"light": 30, "board": 12, "sensor": 12, "motion": 6, "scene": 6}
GOALS = {
    "offset_error_ms": 1.0,
    "drift_error_ppm": 2.0,
    "field_rms_px": 0.3,
    "gain_error": 0.02,
}


class PosterOperator(TwinOperator):
    """Somebody who has a poster and no board."""

    def provide(self, request: SceneRequest) -> None:
        super().provide(SceneRequest("poster", ""))


def world(seed: int, size: tuple[int, int] | None) -> RigConfig:
    config = load_config("simulated")
    twin = {**config.twin.model_dump(), "seed": seed, "scene": {"kind": "flat"}}
    if size is not None:
        for role in ("privacy", "side"):
            twin[role]["sensor"]["size"] = size
    return config.model_copy(update={"twin": type(config.twin).model_validate(twin)})


def clocks(context: Context, artifact: Artifact) -> dict[str, float]:
    truth, model = context.rig.twin.truth, artifact.payload["clock"]
    at_s = (model["reference_ns"] - context.rig.twin.epoch_ns) * 1e-9
    side, privacy = truth.clock("side"), truth.clock("privacy")
    drift = side.drift_ppm - privacy.drift_ppm
    offset_ms = 1e3 * (side.offset_s - privacy.offset_s + 1e-6 * drift * at_s)
    figures, sigma = artifact.figures, artifact.uncertainty
    found = {
        "offset_error_ms": figures["offset_ms"] - offset_ms,
        "offset_sigma_ms": sigma["offset_ms"],
        "drift_error_ppm": figures["drift_ppm"] - drift,
        "drift_sigma_ppm": sigma["drift_ppm"],
        "true_offset_ms": offset_ms,
        "true_drift_ppm": drift,
    }
    if "privacy_against_rig_ppm" in figures:
        found["clap_drift_error_ppm"] = figures["privacy_against_rig_ppm"] - privacy.drift_ppm
    return found


def geometry(context: Context, artifact: Artifact) -> dict[str, float]:
    p = artifact.payload
    mapped = PlaneMap(np.array(p["parameters"]), tuple(p["side_size"]), tuple(p["privacy_size"]))
    grid = mapped.grid(13, 9)
    error = mapped(grid) - context.rig.twin.truth.side_to_privacy(grid)
    return {
        "field_rms_px": rms(error),
        "field_worst_px": float(np.linalg.norm(error, axis=1).max()),
        "stated_sigma_px": artifact.figures["field_sigma_px"],
        "before_px": artifact.held_out.before,
    }


def gain(context: Context, artifact: Artifact) -> dict[str, float]:
    truth = context.rig.twin.truth.gain_e_per_dn("privacy", int(artifact.figures["iso"]))
    sigma = artifact.uncertainty["gain_e_per_dn"] / truth
    return {
        "gain_error": artifact.figures["gain_e_per_dn"] / truth - 1.0,
        "gain_sigma": sigma,
    }


def know_psf(context: Context, seed: int) -> None:
    """Put a PSF calibration into use: the truth with the error of a measured one."""
    now, rng = present(context.rig), np.random.default_rng(seed)
    static = context.rig.twin.truth.static_wavefront().values
    um = {
        str(from_mode(Order.NOLL, mode)): 0.55 * (value + PSF_ERROR_WAVES * rng.standard_normal())
        for mode, value in static.items()
        if 2 <= mode[0] <= 5
    }
    known = Artifact(
        id="truth-with-error",
        procedure="psf",
        status="accepted",
        made_at=now.now,
        config_hash=now.config_hash,
        payload={"shape_um": um},
    )
    context.store.save(known, {}, {})
    context.store.use(known)


PARTS: dict[str, tuple[Callable[[], Procedure], Callable[..., dict[str, float]], bool]] = {
    "light": (lambda: SyncProcedure(by=SyncBy.LIGHT), clocks, True),
    "motion": (lambda: SyncProcedure(by=SyncBy.MOTION), clocks, True),
    "sensor": (lambda: SensorProcedure(flats=2), gain, True),
    "board": (RegistrationProcedure, geometry, False),
    "scene": (lambda: RegistrationProcedure(natural_scene=True), geometry, False),
}


def measure(part: str, seed: int) -> dict[str, object]:
    make, score, small = PARTS[part]
    began, cpu = time.perf_counter(), time.process_time()
    config = world(seed, SMALL if small else None)
    with tempfile.TemporaryDirectory() as folder:
        with Rig.open(config, clock=ManualClock(wall_start_ns=time.time_ns())) as rig:
            operator = PosterOperator if part == "scene" else TwinOperator
            context = Context(rig, CalibrationStore(Path(folder)), operator(rig.twin))
            if score is geometry:
                know_psf(context, seed)
            artifact = run(make(), context)
            return {
                "part": part,
                "seed": seed,
                "status": artifact.status,
                "reason": artifact.reason,
                **score(context, artifact),
                "wall_s": time.perf_counter() - began,
                "cpu_s": time.process_time() - cpu,
            }


def summary(rows: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    told: dict[str, dict[str, object]] = {}
    for part in dict.fromkeys(str(row["part"]) for row in rows):
        own = [row for row in rows if row["part"] == part]
        told[part] = {
            "seeds": len(own),
            "accepted": sum(row["status"] == "accepted" for row in own),
        }
        for name, goal in GOALS.items():
            values = np.abs([float(row[name]) for row in own if name in row])
            if values.size:
                told[part][name] = {
                    "median": float(np.median(values)),
                    "worst": float(values.max()),
                    "goal": goal,
                    "within_goal": int(np.sum(values <= goal)),
                }
    return told


def main() -> None:
    only = sys.argv[sys.argv.index("--only") + 1].split(",") if "--only" in sys.argv else PARTS
    known = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    rows = [row for row in known if row["part"] not in only]
    for part in only:
        count = int(sys.argv[sys.argv.index("--seeds") + 1]) if "--seeds" in sys.argv else None
        for seed in range(1, (count or SEEDS[part]) + 1):
            row = measure(part, seed)
            print(json.dumps(row), flush=True)
            rows.append(row)
            RESULT.write_text(json.dumps({"summary": summary(rows), "rows": rows}, indent=1) + "\n")
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
