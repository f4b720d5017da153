"""All procedures on the twin, scored against its hidden truth.

    python benchmarks/calibration.py [--seeds N] [--only sync,registration,...]

Unattended, from scratch, in the order of ``rig calibrate all``; each seed is another world.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from calibration.artifact import Artifact, CalibrationStore
from calibration.catalogue import ORDER, build
from calibration.operator import TwinOperator
from calibration.procedure import Context, run
from calibration.registration import PlaneMap
from camera_rig.clock import ManualClock
from camera_rig.config import load_config
from camera_rig.optics import Coefficients, Order, Unit, modes
from camera_rig.rig import Rig


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
    wanted = Coefficients.load(
        Path(__file__).parent.parent / "hw_configs/coefficients/lopez2024.yaml"
    )
    goal = wanted.to(unit=Unit.WAVES_RMS, wavelength_nm=550.0)
    shown = truth.wavefront()
    gap = [shown.values[m] - goal.values.get(m, 0.0) for m in modes(Order.NOLL, 4, 15)]
    return {
        "true_residual_mwaves": 1e3 * float(np.linalg.norm(gap)),
        "stated_residual_mwaves": 1e3 * f["residual_waves_rms"],
        "corrections": f["iterations"],
    }


def main() -> None:
    seeds = int(sys.argv[sys.argv.index("--seeds") + 1]) if "--seeds" in sys.argv else 1
    only = sys.argv[sys.argv.index("--only") + 1].split(",") if "--only" in sys.argv else ORDER
    rows = []
    for seed in range(1, seeds + 1):
        config = load_config("simulated")
        twin = {**config.twin.model_dump(), "seed": seed, "scene": {"kind": "flat"}}
        config = config.model_copy(update={"twin": type(config.twin).model_validate(twin)})
        with tempfile.TemporaryDirectory() as folder:
            with Rig.open(config, clock=ManualClock(wall_start_ns=time.time_ns())) as rig:
                context = Context(rig, CalibrationStore(Path(folder)), TwinOperator(rig.twin))
                for name in only:
                    began, cpu = time.perf_counter(), time.process_time()
                    artifact = run(build(name), context)
                    row = {
                        "seed": seed,
                        "procedure": name,
                        "status": artifact.status,
                        "reason": artifact.reason,
                        "wall_s": time.perf_counter() - began,
                        "cpu_s": time.process_time() - cpu,
                        **score(context, artifact),
                    }
                    print(json.dumps(row), flush=True)
                    rows.append(row)
                    if artifact.status == "rejected":
                        break
    out = Path(__file__).parent / "results" / "calibration.json"
    out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
