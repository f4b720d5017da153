"""The full table: original, optics, low resolution, defocus, blur, pixelation, default bundle.

    python benchmarks/evaluation.py                    # 40 held-out heads x 12 frames, 10 styles
    python benchmarks/evaluation.py --frames 3 --styles 3

Writes ``results/evaluation.json``: every figure with its 95 % interval, the limits it was
calibrated with, and how long it took. A run that is stopped goes on where it stopped. The
heads are rendered and held out from all training: these figures are never figures on people.
Needs the extra "evaluate" and ``rig fetch all``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np

from models.data import open_folder
from models.evaluation.cases import pictures_of
from models.evaluation.gauges import STANDARD
from models.evaluation.material import held_out_heads, open_pictures, public_references
from models.evaluation.page import render
from models.evaluation.run import Evaluation, Protocol, evaluate, write
from models.evaluation.store import MeasureStore, store_file
from models.evaluation.systems import Styles, systems_for
from models.runtime.bundle import open_bundle

HERE = Path(__file__).parent
RESULT = HERE / "results" / "evaluation.json"
BUNDLE = HERE.parent / "models" / "default_bundle"
_PUBLIC = 20


def shortened(result: Evaluation) -> dict[str, object]:
    """Return what is worth keeping of a run: figures and intervals, no curves."""
    return {
        "machine": platform.processor() or platform.machine(),
        "bundle": result.bundle,
        "set": result.set,
        "video": result.video,
        "verdict": result.verdict,
        "took_s": result.took_s,
        "calibration": {
            name: {
                "eer": round(found.verification.eer, 4),
                "threshold": round(found.verification.eer_threshold, 4),
                "swap_floor": round(found.swap_floor, 4),
            }
            for name, found in result.calibration.items()
        },
        "systems": {
            system.name: {
                "detail": system.detail,
                "references": system.references,
                **{
                    name: [_short(v) for v in (figure.value, figure.low, figure.high)]
                    for name, figure in system.figures.items()
                },
            }
            for system in result.systems
        },
    }


def _short(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


def main() -> None:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bundle", type=Path, default=BUNDLE)
    options.add_argument("--people", type=int, default=40)
    options.add_argument("--frames", type=int, default=12)
    options.add_argument("--styles", type=int, default=10)
    options.add_argument("--video", type=int, default=6, help="people of the video; 0: none")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--without", action="append", default=[])
    options.add_argument("--out", type=Path, help="also write page, CSV and JSON there")
    given = options.parse_args()
    bundle = open_bundle(given.bundle)
    size = bundle.card.sizes.size_px
    faces = open_pictures(held_out_heads(given.people, given.frames, size), size)
    video = None
    if given.video:
        video = open_pictures(held_out_heads(given.video, 60, size, video_fps=30.0), size)
    styles = Styles.shipped(bundle)
    if styles is None:
        public = open_folder(public_references(_PUBLIC, size), size)
        styles = Styles(np.stack([public[i].picture for i in range(_PUBLIC)]), (0,) * _PUBLIC)
    systems = systems_for(bundle, faces.samples, styles, references=given.styles)
    gauges = tuple(name for name in STANDARD if name not in given.without)
    began = time.monotonic()
    with MeasureStore(store_file()) as store:
        result, raw = evaluate(
            bundle,
            faces,
            systems,
            Protocol(gauges=gauges, workers=given.workers),
            store,
            video=video,
            progress=lambda step, done, total: (
                print(f"{step}: {done} of {total}, {time.monotonic() - began:.0f} s", flush=True)
                if done % 100 < 4
                else None
            ),
        )
    RESULT.write_text(json.dumps(shortened(result), indent=1) + "\n", encoding="utf-8")
    if given.out:
        write(result, given.out, render(result, pictures_of(raw)))
    print(result.verdict)


if __name__ == "__main__":
    main()
