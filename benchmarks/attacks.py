"""What attackers get back of heads through the published coefficients, and plainer cameras.

    python benchmarks/attacks.py --out RUN                       # everything
    python benchmarks/attacks.py --out RUN --attack wiener --camera "learned optics"

The published coefficients against a 16 x 16 sensor, and defocus and Gaussian blur of the
same PSNR. Attackers learn from 400 rendered heads and seek 40 others, at 128 pixels. A
run that is stopped goes on where it was. The heads are synthetic: these figures are no
figures on people. Needs the extras "learn" and "evaluate", and `rig fetch` for recognisers.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

from camera_rig.optics import Coefficients
from models.camera import OpticsSpec
from models.evaluation.attacks.catalogue import chosen
from models.evaluation.attacks.from_bundle import at_hand, ground_for
from models.evaluation.attacks.ground import AttackSettings
from models.evaluation.attacks.learning import Effort
from models.evaluation.attacks.report import write_report
from models.evaluation.attacks.run import cells_of, run
from models.evaluation.material import open_pictures
from models.heads import HeadSetSettings, render_heads
from models.networks import preset
from models.training.sources import Trained

HERE = Path(__file__).parent
RESULT = HERE / "results" / "attacks.json"
PAPER = HERE.parent / "hw_configs" / "coefficients" / "lopez2024.yaml"
SIZE_PX = 128
LEARNED = HeadSetSettings(tuple(range(400)), frames=5, size_px=SIZE_PX)
SOUGHT = HeadSetSettings(tuple(range(20_000, 20_040)), frames=8, size_px=SIZE_PX)
SETTINGS = AttackSettings(
    size_px=SIZE_PX,
    tuned=Effort(steps=60, batch=16, rate=4e-4, judge_every=12),
    restore=Effort(steps=160, batch=8, rate=2e-3, judge_every=20),
    prior=Effort(steps=160, batch=8, rate=3e-3, judge_every=20),
)


def main() -> None:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--heads", type=Path, help="folder that keeps the rendered heads")
    arguments.add_argument("--attack", action="append", default=[])
    arguments.add_argument("--camera", action="append", default=[])
    given = arguments.parse_args()
    heads = given.heads or given.out / "heads"
    learned = render_heads(heads / "train", LEARNED)
    sought = render_heads(heads / "test", SOUGHT)
    paper = Coefficients.load(PAPER)
    trained = Trained(PAPER, preset("live"), "ibug68", 0, OpticsSpec(), {}, (paper,))
    recognisers, _ = at_hand()
    ground = ground_for(
        trained,
        lambda size_px: open_pictures(sought, size_px),
        (lambda size_px: open_pictures(learned, size_px),),
        SETTINGS,
        recognisers,
    )
    began = time.process_time()
    # Figures of every cell are written at once, so a run that is stopped is not lost.
    run(
        ground,
        chosen(given.attack),
        given.out,
        cameras=given.camera,
        progress=lambda done, total, text: print(
            f"{done}/{total} {text}, {time.process_time() - began:.0f} s of CPU", flush=True
        ),
    )
    write_report(given.out)
    cells = [cell.model_dump(mode="json") for cell in cells_of(given.out)]
    told = json.loads((given.out / "run.json").read_text(encoding="utf-8"))
    machine = platform.processor() or platform.machine()
    RESULT.write_text(
        json.dumps({"machine": machine, **told, "cells": cells}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
