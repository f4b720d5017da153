"""What attackers get back of heads through the default bundle's camera, and through plainer ones.

    python benchmarks/attacks.py --out RUN                       # everything
    python benchmarks/attacks.py --out RUN --attack wiener --camera "learned optics"

The camera of the default bundle (the published coefficients on the twin's bench) against a
16 x 16 sensor, and defocus and Gaussian blur of the same PSNR; then the outputs that the bundle
paints. Attackers learn from 400 rendered heads and seek 40 others, at 128 pixels; light, garment
and wall change from picture to picture. A run that is stopped goes on where it was. The heads are
synthetic: these figures are no figures on people. Needs the extras "learn" and "evaluate", and
`rig fetch` for recognisers. Two of the attackers multiply in 16 bits: on a processor without
bfloat16 they take longer, and find a little else.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

from models.evaluation.attacks.catalogue import chosen
from models.evaluation.attacks.from_bundle import at_hand, ground_for
from models.evaluation.attacks.ground import AttackSettings
from models.evaluation.attacks.learning import Effort
from models.evaluation.attacks.report import write_report
from models.evaluation.attacks.run import cells_of, run
from models.evaluation.material import open_pictures
from models.evaluation.systems import Styles
from models.heads import TEST_SEEDS, TRAINING_SEEDS, HeadSetSettings, render_heads
from models.runtime.bundle import open_bundle

HERE = Path(__file__).parent
RESULT = HERE / "results" / "attacks.json"
BUNDLE = HERE.parent / "models" / "default_bundle"
SIZE_PX, PAINTED_PX = 128, 256
LEARNED = HeadSetSettings(tuple(TRAINING_SEEDS[:400]), 4, PAINTED_PX, studios=4)
SOUGHT = HeadSetSettings(tuple(TEST_SEEDS[:40]), 4, PAINTED_PX, studios=4)
SETTINGS = AttackSettings(
    size_px=SIZE_PX,
    per_person=4,
    tuned=Effort(steps=500, batch=16, rate=4e-4, judge_every=50),
    restore=Effort(steps=800, batch=8, rate=1e-3, judge_every=80, bf16=True),
    prior=Effort(steps=600, batch=8, rate=1e-3, judge_every=60, bf16=True),
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
    bundle = open_bundle(BUNDLE)
    recognisers, _ = at_hand()
    ground = ground_for(
        bundle,
        lambda size_px: open_pictures(sought, size_px),
        (lambda size_px: open_pictures(learned, size_px),),
        SETTINGS,
        recognisers,
        styles=Styles.shipped(bundle),
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
