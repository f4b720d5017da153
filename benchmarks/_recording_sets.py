"""Pairing, the twin, and the way from takes to a set: parts of ``recording.py``."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.recording.streams import Streams, make
from tests.recording.test_pairing import calibrated, run, score

SECONDS = float(os.environ.get("BENCH_TAKE_S", "10"))
TWIN_SECONDS = float(os.environ.get("BENCH_TWIN_S", "60"))


def pairing() -> dict[str, Any]:
    """Wrong pairs and residual skew over 30 seeds, with a calibrated and an online model."""
    out: dict[str, Any] = {
        "wrong_means": "a side frame was truly nearer by over a third of a period",
        "set": "30 fps, 50 ppm, 1 ms stamp jitter, 1 % drops, offset 250 ms, phases over 0..1",
    }
    for kind in ("calibrated", "online"):
        rows = []
        for seed in range(30):
            s = Streams(seconds=300, seed=seed, phase=seed / 30, drift_ppm=50 - 100 * (seed % 2))
            made = make(s)
            online = kind == "online"
            groups = (
                run(made, calibrated(s, seed), online=False)
                if not online
                else run(made, _nothing(), online=True)[300:]
            )  # the first ten seconds are the warm-up
            found = score(made, groups)
            singles = sum(not g.is_pair for g in groups)
            rows.append((found, singles))
        pairs = sum(f.pairs for f, _ in rows)
        z = np.concatenate([f.z for f, _ in rows])
        error_ms = np.abs(np.concatenate([f.error_ns for f, _ in rows])) * 1e-6
        out[kind] = {
            "pairs": pairs,
            "wrong": sum(f.wrong for f, _ in rows),
            "wrong_share": sum(f.wrong for f, _ in rows) / pairs,
            "left_alone_share": round(sum(n for _, n in rows) / pairs, 5),
            "skew_error_ms_p50": round(float(np.percentile(error_ms, 50)), 3),
            "skew_error_ms_p99": round(float(np.percentile(error_ms, 99)), 3),
            "share_within_2_stated_sd": round(float(np.mean(np.abs(z) < 2)), 4),
            "rms_of_error_over_stated_sd": round(float(np.sqrt(np.mean(z**2))), 3),
        }
    return out


def _nothing() -> Any:
    from camera_rig.recording.clockmodel import ClockModel

    return ClockModel()


def twin() -> dict[str, Any]:
    """A take of the twin in its own time: losses and skews against the truth."""
    from camera_rig.clock import ManualClock
    from camera_rig.recording.consent import permit_recording
    from camera_rig.recording.plan import TakePlan
    from camera_rig.recording.reading import Take
    from camera_rig.recording.recorder import Recorder
    from camera_rig.recording.store import DataStore
    from camera_rig.rig import Rig

    with tempfile.TemporaryDirectory() as folder:
        store = DataStore(Path(folder) / "data", Path(folder) / "keys")
        permit = permit_recording("T01", store.keys, store.consents, simulated=True)
        clock = ManualClock(wall_start_ns=time.time_ns())
        with Rig.open("simulated", clock=clock, only={"privacy", "side"}) as rig:
            cameras = {"privacy": rig.privacy, "side": rig.side}
            plan = TakePlan(duration_s=TWIN_SECONDS, warm_up_s=12.0, min_free_gb=0)
            start = _cpu_s()
            with Recorder(cameras, clock, plan) as recorder:
                recorder.warm_up()
                report = recorder.record(permit, store.takes)
            cpu_s = _cpu_s() - start
            delivered = {r: c.health().readings for r, c in cameras.items()}
            take = Take(report.folder)
            truth = rig.twin.truth
            errors, stated, numbers = [], [], {"privacy": [], "side": []}
            for group in take.groups:
                for role, frame in group.frames.items():
                    numbers[role].append(frame.sequence)
                if group.is_pair:
                    side = group.frames["side"]
                    true = {r: truth.true_time_ns(r, f.sequence) for r, f in group.frames.items()}
                    errors.append((side.skew_ns or 0) - (true["side"] - true["privacy"]))
                    stated.append(side.skew_uncertainty_ns or 1)
    seal = report.seal
    assert seal is not None
    spans = {r: max(n) - min(n) + 1 for r, n in numbers.items()}
    error_ms = np.abs(errors) * 1e-6
    return {
        "seconds": TWIN_SECONDS,
        "fps": 30,
        "pairs": seal.totals.pairs,
        "stored": seal.totals.frames,
        "lost_by_the_cameras": seal.totals.lost,
        "not_stored_though_delivered": {
            r: spans[r] - len(numbers[r]) - seal.totals.lost.get(r, 0) for r in numbers
        },
        "frames_delivered_in_session": {r: d["frames_delivered"] for r, d in delivered.items()},
        "clock_source": seal.clock_model.source,
        "skew_error_ms_p50": round(float(np.percentile(error_ms, 50)), 3),
        "skew_error_ms_p99": round(float(np.percentile(error_ms, 99)), 3),
        "stated_sd_ms": round(float(np.median(stated)) * 1e-6, 3),
        "share_within_2_stated_sd": float(np.mean(np.abs(errors) < 2 * np.array(stated))),
        "bytes_per_pair": round(seal.totals.stored_bytes / max(1, seal.totals.pairs)),
        "core_ms_per_pair_with_rendering": round(1e3 * cpu_s / max(1, seal.totals.pairs), 1),
        "note": "virtual time: the twin waits for the computer; cost alone is in section cost",
    }


def series() -> dict[str, Any]:
    """17 takes on the twin, a 3000/700 set: three commands, timed."""
    rig = [sys.executable, "-m", "cli.main"]
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "record": ["take", "record", "--subject", "S01", "--simulated", "--virtual-time",
                       "--duration", f"{SECONDS:g}", "--repeat", "17", "--series", "faces",
                       "--countdown", "0", "--yes"],
            "prepare": ["data", "prepare", "series:faces", "--out", "faces-set",
                        "--split", "3000/700"],
            "export": ["data", "export", "faces-set", "--out", "faces", "--format", "webdataset",
                       "--scope", "train"],
        }  # fmt: skip
        out: dict[str, Any] = {"takes": 17, "take_s": SECONDS}
        for name, words in commands.items():
            before, start = _children_cpu_s(), time.perf_counter()
            done = subprocess.run(
                [*rig, *words],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(root)},
                capture_output=True,
                text=True,
                check=False,
            )
            out[name] = {
                "exit_code": done.returncode,
                "wall_s": round(time.perf_counter() - start, 1),
                "cpu_s": round(_children_cpu_s() - before, 1),
                "last_lines": done.stdout.strip().splitlines()[-6:],
            }
            if done.returncode:
                out[name]["error"] = done.stderr.strip().splitlines()[-6:]
                break
        size = sum(p.stat().st_size for p in Path(folder).rglob("rig-data/takes/*/*"))
        out["takes_mb"] = round(size / 1e6, 1)
    return out


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
