"""What a design of the optics costs and brings, against an attacker who knows it.

    python benchmarks/design.py [SECTION ...] [--sheet FOLDER]

Without a section all run. Each writes its part of ``benchmarks/results/design.json``.

========  =======================================================================
designs   heatmap error against attack PSNR and attacked rank-1, for the published
          coefficients, the paper's objective, (a) a deconvolution adversary in it,
          (b) several mirror shapes in one exposure, both, and a camera of 16 x 16
dither    how many shapes one exposure of a DMH40 holds, by settling time and slew
ablation  rows H, L and E of the paper's table 1, in kind
========  =======================================================================

Small on purpose: rendered heads of 64 pixels, networks of a few 10,000 weights, a few
hundred updates. The order of the rows is what such runs can tell, not how good a design
gets. The heads are synthetic: these figures are about them, not about people. Needs the
extra "evaluate" and dlib's weights (`rig evaluate`).
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import _ablation as ablation
import _designs as designs
import torch

RESULT = Path(__file__).parent / "results" / "design.json"
SECTIONS = {
    "designs": designs.table,
    "dither": designs.dither,
    "ablation": ablation.table,
}


def main() -> None:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("sections", nargs="*", choices=[*SECTIONS, []])
    arguments.add_argument("--sheet", type=Path, help="folder for sample pictures")
    arguments.add_argument("--work", type=Path, help="folder for the runs, kept: goes on there")
    arguments.add_argument("--share", type=float, default=1.0, help="of the updates, for a try")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    stored: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    work = given.work or Path(tempfile.mkdtemp(prefix="rig-design-"))
    try:
        for name in given.sections or list(SECTIONS):
            began = time.process_time()
            found = SECTIONS[name](work, given.share, given.sheet)
            found["cpu_minutes"] = round((time.process_time() - began) / 60.0, 1)
            stored[name] = found
            print(name, json.dumps(found, indent=1))
    finally:
        if given.work is None:
            shutil.rmtree(work)
    if given.share == 1.0:
        stored["machine"] = f"{platform.machine()}, torch {torch.__version__}, one thread"
        RESULT.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
