"""All procedures on the twin, scored against its hidden truth.

    python benchmarks/calibration.py [--seeds N] [--only sync,registration,...]
    python benchmarks/calibration.py --statistics N

The first runs unattended, from scratch, in the order of ``rig calibrate all``. The second
closes the loop on N benches with more to hide (half a wave of static aberration, 14 % of
hysteresis, the pupil 3 % of its diameter off the mirror's middle, no mirror model at the
start) and a smaller sensor. It keeps each seed as soon as it is done and goes on from
there when it is started again. Each seed is another world.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from calibration.artifact import Artifact, CalibrationStore
from calibration.catalogue import ORDER, build
from calibration.influence import InfluenceProcedure
from calibration.operator import TwinOperator
from calibration.procedure import Context, Procedure, run
from calibration.realise import RealiseProcedure
from calibration.registration import PlaneMap
from calibration.sensor import SensorProcedure
from camera_rig.clock import ManualClock
from camera_rig.config import RigConfig, load_config
from camera_rig.errors import RigError
from camera_rig.optics import Coefficients, Order, Unit, modes
from camera_rig.rig import Rig

ROOT = Path(__file__).parent.parent
OUT = ROOT / "benchmarks" / "results" / "calibration.json"
SMALL_PX = 576
"""Sensor of the benches with more to hide: as many pixels as the wanted shape needs."""


def score(context: Context, artifact: Artifact) -> dict[str, float]:
    truth, f = context.rig.twin.truth, artifact.figures
    store = context.store
    if artifact.procedure == "sensor":
        return {
            "gain_error": f["gain_e_per_dn"] / truth.gain_e_per_dn("privacy", int(f["iso"])) - 1
        }
    if artifact.procedure == "sync":
        model = artifact.payload["clock"]
        at_s = (model["reference_ns"] - context.rig.twin.epoch_ns) * 1e-9
        side, privacy = truth.clock("side"), truth.clock("privacy")
        drift = side.drift_ppm - privacy.drift_ppm
        offset_ms = 1e3 * (side.offset_s - privacy.offset_s + 1e-6 * drift * at_s)
        return {
            "offset_error_ms": f["offset_ms"] - offset_ms,
            "drift_error_ppm": f["drift_ppm"] - drift,
        }
    if artifact.procedure == "registration":
        p = artifact.payload
        found = PlaneMap(np.array(p["parameters"]), tuple(p["side_size"]), tuple(p["privacy_size"]))
        w, h = p["side_size"]
        grid = np.stack(np.meshgrid(np.linspace(0, w - 1, 13), np.linspace(0, h - 1, 9)), -1)
        error = found(grid.reshape(-1, 2)) - truth.side_to_privacy(grid.reshape(-1, 2))
        # The truth is that of the chief ray; the PSF at rest adds a common shift.
        free = error - error.mean(axis=0)
        return {
            "field_rms_px": float(np.sqrt(np.mean(np.sum(error**2, axis=1)))),
            "field_rms_without_common_shift_px": float(np.sqrt(np.mean(np.sum(free**2, axis=1)))),
        }
    if artifact.procedure == "psf":
        static = truth.static_wavefront().numbers
        gap = [f[f"z{j}_waves"] - static.get(j, 0.0) for j in range(5, 16)]
        return {"error_z5_z15_mwaves": 1e3 * float(np.linalg.norm(gap))}
    if artifact.procedure == "influence":
        found_um = store.arrays(artifact)["um_per_unit"][2:14]
        true_um = truth.influence().rows(modes(Order.NOLL, 4, 15))
        gain = float(np.sum(found_um * true_um) / np.sum(true_um**2))
        size = np.linalg.norm(true_um)
        return {
            "matrix_error": float(np.linalg.norm(found_um - true_um) / size),
            "common_gain": gain,
            "matrix_error_without_gain": float(np.linalg.norm(found_um / gain - true_um) / size),
            "wrong_signs": float(np.sum(np.sum(found_um * true_um, axis=0) < 0)),
            "rotation_error_deg": f["orientation_deg"] - truth.footprint().rotation_deg,
        }
    goal = wanted().to(unit=Unit.WAVES_RMS, wavelength_nm=550.0)
    listed = modes(Order.NOLL, 4, 15)
    stands = truth.wavefront()
    gap = [stands.values[m] - goal.values.get(m, 0.0) for m in listed]
    measured = store.arrays(artifact)["values"][-1]
    then = truth.wavefront(artifact.payload["measured_ns"])
    error = measured - np.array([then.values[m] for m in listed])
    sigma = np.array(artifact.payload["sigma_waves"])
    return {
        "true_residual_mwaves": 1e3 * float(np.linalg.norm(gap)),
        "stated_residual_mwaves": 1e3 * f["residual_waves_rms"],
        "measurement_error_mwaves": 1e3 * float(np.linalg.norm(error)),
        "normalised_error": float(np.sqrt(np.mean((error / sigma) ** 2))),
        "corrections": f["iterations"],
        "chi2": f["chi2"],
    }


def wanted() -> Coefficients:
    return Coefficients.load(ROOT / "hw_configs" / "coefficients" / "lopez2024.yaml")


def world(seed: int) -> RigConfig:
    """The delivered twin with another seed."""
    return changed(load_config("simulated"), {"seed": seed, "scene": {"kind": "flat"}})


def hiding_world(seed: int) -> RigConfig:
    """A bench with more to hide, and a sensor that shows the middle of the field only."""
    config = load_config("simulated")
    angle = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi)
    off_mm = 0.03 * config.bench.mirror_pupil_mm
    twin = {
        "seed": seed,
        "scene": {"kind": "flat"},
        # Pictures follow each change of shape, so that errors below 1 mwave can be seen.
        "light_path": {"static_waves_rms": 0.5, "tolerance_waves": 0.0001},
        "mirror": {"loop": 0.14, "decentre_mm": (off_mm * np.cos(angle), off_mm * np.sin(angle))},
        "privacy": {"sensor": {"size": (SMALL_PX, SMALL_PX)}},
    }
    optics = config.bench.privacy
    width_mm = optics.sensor_width_mm * SMALL_PX / config.twin.privacy.sensor.size[0]
    smaller = optics.model_copy(update={"sensor_width_mm": width_mm})
    bench = config.bench.model_copy(update={"privacy": smaller})
    return changed(config.model_copy(update={"bench": bench}), twin)


def changed(config: RigConfig, twin: dict[str, Any]) -> RigConfig:
    def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        result = dict(old)
        for key, value in new.items():
            deep = isinstance(value, dict) and isinstance(old.get(key), dict) and key != "scene"
            result[key] = merged(old[key], value) if deep else value
        return result

    section = merged(config.twin.model_dump(), twin)
    return config.model_copy(update={"twin": type(config.twin).model_validate(section)})


def walk(config: RigConfig, procedures: Sequence[Procedure], seed: int) -> list[dict[str, Any]]:
    """Run procedures one after the other in a new folder; return a row each."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        clock = ManualClock(wall_start_ns=time.time_ns())
        with Rig.open(config, clock=clock) as rig:
            context = Context(rig, CalibrationStore(Path(folder)), TwinOperator(rig.twin))
            for procedure in procedures:
                began, cpu = time.perf_counter(), time.process_time()
                row: dict[str, Any] = {"seed": seed, "procedure": procedure.name}
                try:
                    artifact = run(procedure, context)
                    row |= {"status": artifact.status, "reason": artifact.reason}
                    if artifact.figures:
                        row |= score(context, artifact)
                except RigError as error:
                    row |= {"status": "failed", "reason": error.message}
                row["wall_s"] = time.perf_counter() - began
                row["cpu_s"] = time.process_time() - cpu
                print(json.dumps(row), flush=True)
                rows.append(row)
                if row["status"] != "accepted":
                    break
    return rows


class OnItsOwn(InfluenceProcedure):
    """Influence without the PSF at rest before it, of which it uses nothing."""

    needs = ("sensor",)


def statistics(seeds: int) -> None:
    kept = read()
    done = {row["seed"] for row in kept["statistics"]["rows"]}
    for seed in range(1, seeds + 1):
        if seed in done:
            continue
        steps = [SensorProcedure(flats=6), OnItsOwn(), RealiseProcedure(wanted())]
        kept["statistics"]["rows"] += walk(hiding_world(seed), steps, seed)
        kept["statistics"]["summary"] = summary(kept["statistics"]["rows"])
        write(kept)
    print(json.dumps(kept["statistics"]["summary"], indent=1))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures over seeds: median and worst of each score."""
    result: dict[str, Any] = {"seeds": len({row["seed"] for row in rows})}
    for name in ("influence", "realise"):
        mine = [row for row in rows if row["procedure"] == name]
        words = {"seed", "procedure", "status", "reason"}
        figures = sorted({k for row in mine for k in row} - words)
        result[name] = {"accepted": sum(row["status"] == "accepted" for row in mine)}
        for figure in figures:
            values = np.abs([row[figure] for row in mine if figure in row])
            result[name][figure] = {
                "median": float(np.median(values)),
                "worst": float(values.max()),
            }
    return result


def read() -> dict[str, Any]:
    empty = {"all": [], "statistics": {"rows": [], "summary": {}}}
    return empty | json.loads(OUT.read_text()) if OUT.exists() else empty


def write(kept: dict[str, Any]) -> None:
    aside = OUT.with_suffix(".part")
    aside.write_text(json.dumps(kept, indent=1) + "\n")
    aside.replace(OUT)


def main() -> None:
    def option(name: str, default: str) -> str:
        return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default

    if "--statistics" in sys.argv:
        statistics(int(option("--statistics", "30")))
        return
    only = option("--only", ",".join(ORDER)).split(",")
    rows: list[dict[str, Any]] = []
    for seed in range(1, int(option("--seeds", "1")) + 1):
        rows += walk(world(seed), [build(name) for name in only], seed)
        write(read() | {"all": rows})


if __name__ == "__main__":
    main()
