"""What recording holds: losses, cost against ffmpeg, pairing, growth, secrecy, a series.

Run ``python benchmarks/recording.py [SECTION ...]``; without a section all run. Each
writes its part of ``benchmarks/results/recording.json``.

========  =====================================================================
kill      kill -9 of a recording at 200 random instants, then recover and verify
faults    a real full disk, a 2 s stall, a camera lost, the wall clock stepped
cost      2 x 1080p30 from paced sources: core-ms and share, beside ``ffmpeg -c copy``
pairing   offset, 50 ppm drift, jitter, drops over 30 seeds: wrong pairs, residual
twin      the digital twin at 2 x 30 fps: losses, skew against the truth, bytes
growth    cost per pair along a long take, and with 10,000 takes in the catalogue
secrecy   byte search of a take for pictures of the side branch
series    17 takes to a 3000/700 set by three commands
========  =====================================================================

CPU figures are process CPU time, so a busy neighbour changes them little. Pictures are
drawn or of synthetic heads; no figure here is a figure on people.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import _recording_cost as cost  # noqa: E402
import _recording_safety as safety  # noqa: E402
import _recording_sets as sets  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "recording.json"
SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "kill": safety.kill,
    "faults": safety.faults,
    "cost": cost.cost,
    "pairing": sets.pairing,
    "twin": sets.twin,
    "growth": cost.growth,
    "secrecy": safety.secrecy,
    "series": sets.series,
}


def main(names: list[str]) -> None:
    for name in names or list(SECTIONS):
        start = time.perf_counter()
        figures = SECTIONS[name]()
        figures["wall_s"] = round(time.perf_counter() - start, 1)
        figures["load_1min"] = round(os.getloadavg()[0], 1)
        print(name, json.dumps(figures, indent=1))
        found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        found["machine"] = (
            f"{platform.machine()}, {os.cpu_count()} cores, {platform.python_version()}"
        )
        found[name] = figures
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
