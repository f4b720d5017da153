"""What attackers get back of heads through the default bundle's camera, and through plainer ones.

    python benchmarks/attacks.py --out RUN                       # everything
    python benchmarks/attacks.py --out RUN --attack wiener --camera "learned optics"
    python benchmarks/attacks.py --out RUN --report              # of what is done so far
    python benchmarks/attacks.py --out EQUAL --equal landmarks   # blurs that leave as much of use

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
from typing import Any

from models.evaluation.attacks.cameras import OWN
from models.evaluation.attacks.catalogue import chosen
from models.evaluation.attacks.equal import equally_useful
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
CURVES = HERE.parent / "docs" / "images" / "attack-curves.png"
CAMERAS = {OWN: "#b3541e", "16 x 16": "#0b5394", "defocus": "#2e7d32", "Gaussian blur": "#7b1fa2"}
_COLUMNS = 3
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


def draw_curves(cells: list[dict[str, Any]]) -> None:
    """Draw how every attacker learned: one panel for each attack, one line for each camera."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    trained = [cell for cell in cells if cell["curve"]]
    attacks = list(dict.fromkeys(cell["attack"] for cell in trained))
    shown = {cell["camera"] for cell in trained}
    colours = {name: colour for name, colour in CAMERAS.items() if name in shown}
    rows = -(-len(attacks) // _COLUMNS)
    figure, panels = pyplot.subplots(
        rows, _COLUMNS, figsize=(11, 3 * rows), layout="constrained", squeeze=False
    )
    for panel, attack in zip(panels.flat, attacks, strict=False):
        for cell in trained:
            if cell["attack"] == attack:
                curve, colour = cell["curve"], colours[cell["camera"]]
                panel.plot(curve["steps"], curve["held_out"], "o-", ms=3, color=colour)
                panel.set_ylabel(curve["figure"].split(",")[0], fontsize=8)
        panel.set_title(attack, fontsize=10)
        panel.set_xlabel("updates", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels.flat[len(attacks) :]:
        panel.axis("off")
    lines = [pyplot.Line2D([], [], color=c, marker="o", ms=3) for c in colours.values()]
    figure.legend(lines, list(colours), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(CURVES, dpi=90)


def main() -> None:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--report", action="store_true", help="tell what is done, do no more")
    arguments.add_argument("--heads", type=Path, help="folder that keeps the rendered heads")
    arguments.add_argument("--attack", action="append", default=[])
    arguments.add_argument("--camera", action="append", default=[])
    arguments.add_argument("--equal", choices=("psnr", "landmarks"), default="psnr")
    given = arguments.parse_args()
    if not given.report:
        attack(given)
    report(given.out, given.equal)


def attack(given: argparse.Namespace) -> None:
    """Carry out what was asked for; what lies in the folder already is kept."""
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

    def tell(done: int, total: int, text: str) -> None:
        print(f"{done}/{total} {text}, {time.process_time() - began:.0f} s of CPU", flush=True)

    if given.equal == "landmarks":
        ground = equally_useful(ground, given.out / "readers", tell)
    # Figures of every cell are written at once, so a run that is stopped is not lost.
    run(
        ground,
        chosen(given.attack),
        given.out,
        cameras=given.camera,
        progress=tell,
    )


def report(folder: Path, equal: str) -> None:
    """Write the result, the curves and the page of a run folder."""
    write_report(folder)
    cells = [cell.model_dump(mode="json") for cell in cells_of(folder)]
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    machine = platform.processor() or platform.machine()
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    found |= {"machine": machine, f"equal_{equal}": {**told, "cells": cells}}
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if equal == "psnr":
        draw_curves(cells)


if __name__ == "__main__":
    main()
