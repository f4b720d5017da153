"""``rig demo``: walk the instrument on the simulated rig, with the commands a user would type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from camera_rig.errors import RigError
from cli._common import JsonOption, console, emit

_RIG_FILE = """\
# The simulated rig of the demo; everything it writes stays in this folder.
{simulated}
storage:
  root: data
  keys: data/keys
calibration:
  root: data/calibration
"""


@dataclass(frozen=True)
class Step:
    """One stop of the walk.

    Args:
        name: Short name, also of its files.
        title: Heading in the report.
        why: What the reader should see in it.
        words: The command, without ``rig``.
        pictures: Files it leaves, relative to the demo folder, with captions.
    """

    name: str
    title: str
    why: str
    words: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a step went: exit code, its output, and how long it took (s)."""

    name: str
    code: int
    output: str
    seconds: float


STEPS = (
    Step(
        "doctor",
        "Could this rig record now?",
        "Devices, libraries, disk, clock, keys and calibrations, and what to mend.",
        ("doctor",),
    ),
    Step(
        "mirror",
        "From learned coefficients to forty voltages",
        "The published coefficients, told mode by mode in all four orders, checked against what "
        "the mirror can reach, applied, read back and verified.",
        ("mirror", "load", "lopez2024", "--model", "--png", "mirror.png"),
        (("mirror.png", "Electrode voltages, and the point spread function they make."),),
    ),
    Step(
        "pair",
        "What the two cameras see",
        "The same moment through the sharp side branch and through the mirror. The person does "
        "not exist.",
        ("camera", "watch", "--private", "--seconds", "1", "--sheet", "pair.png"),
        (("pair.png", "Privacy camera and side camera."),),
    ),
    Step(
        "calibrate",
        "What the instrument really is",
        "Gain and noise by photon transfer, the offset of the two clocks from a coded light, side "
        "to privacy by a board, the point spread function of the flat mirror. Each is accepted "
        "only because a held-out measurement improved.",
        ("calibrate", "run", "sensor", "sync", "registration", "psf"),
    ),
    Step(
        "takes",
        "Two short paired takes",
        "Both cameras run freely; frames meet by corrected capture time. Sharp frames are "
        "encrypted before they reach the disk.",
        (
            "take", "record", "--subject", "DEMO", "--simulated", "--virtual-time", "--duration",
            "4", "--repeat", "2", "--countdown", "0", "--series", "demo", "--yes",
        ),
    ),
    Step(
        "verify",
        "Nothing lost, nothing torn",
        "Every frame is authenticated against the journal.",
        ("take", "verify", "last"),
    ),
    Step(
        "prepare",
        "From takes to a training set",
        "Registered, cropped, judged and split by time; encrypted again.",
        ("data", "prepare", "series:demo", "--out", "set", "--every", "3"),
    ),
    Step(
        "finetune",
        "A few steps on the instrument's own pairs",
        "The default bundle goes on learning from what this rig recorded. Six steps show the way; "
        "a lab takes thousands.",
        (
            "finetune", "default", "set", "--out", "tuned", "--references", "heads:2",
            "--steps", "6", "--set", "engine.batch=2", "--set", "engine.sheet_every=6",
            "--set", "engine.checkpoint_every=6",
        ),
        (("tuned/sheets/step-00000006.png", "Sharp, distorted, and below them new faces."),),
    ),
    Step(
        "evaluate",
        "Who can still be recognised",
        "Recognisers, detectors and landmarks on people no training has seen. Three people are "
        "far too few for a figure: see the documentation for forty.",
        (
            "evaluate", "default", "heads:3", "--out", "evaluation", "--frames", "2",
            "--styles", "2", "--baselines", "original", "--baselines", "optics",
            "--without", "perceptual", "--workers", "1",
        ),
    ),
    Step(
        "live",
        "What viewers see",
        "The distorted frame, and the same moment with four faces that belong to nobody. When the "
        "mirror, the shape or the frame is in doubt, a card says why instead.",
        ("preview", "--look", "live.png"),
        (("live.png", "What the sensor saw, and what is shown."),),
    ),
    Step(
        "audit",
        "Who opened what",
        "Every decryption is in a hash-chained log.",
        ("data", "audit"),
    ),
)  # fmt: skip


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo leaves.")] = Path(
        "demo"
    ),
    fresh: Annotated[bool, typer.Option("--fresh", help="Do finished steps again.")] = False,
    preview: Annotated[
        bool,
        typer.Option("--preview/--no-preview", help="End with the live page, until Ctrl-C."),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Walk the instrument on the simulated rig and write a report with pictures.

    Started again it goes on where it stopped. Exits with 1 when a step failed. At a terminal
    it ends with the live page.

    Example: rig demo --out demo
    """
    from cli._demo_report import write_report

    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    config = _write_config(out)
    outcomes: list[Outcome] = []
    for number, step in enumerate(STEPS, start=1):
        kept = None if fresh else _kept(out, step)
        if not as_json:
            console().print(f"[bold]{number}/{len(STEPS)}[/]  {step.title}", end="  ")
        outcome = kept or _run(out, config, step)
        outcomes.append(outcome)
        if not as_json:
            mark = "[green]done[/]" if outcome.code == 0 else "[red]failed[/]"
            console().print(f"{mark} [dim]{outcome.seconds:.0f} s{' (before)' if kept else ''}[/]")
        if outcome.code != 0:
            console(stderr=True).print(outcome.output, markup=False)
            break
    report = write_report(out, STEPS, outcomes)
    ok = len(outcomes) == len(STEPS) and outcomes[-1].code == 0
    data = {"ok": ok, "report": str(report), "steps": [asdict(one) for one in outcomes]}
    emit(data, as_json, lambda: typer.echo(f"report: {report}"))
    if not ok:
        raise typer.Exit(RigError.exit_code)
    if preview and not as_json and sys.stdout.isatty():
        words = ("preview", "--subject", "DEMO", "--simulated")
        subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            cwd=out,
            env={**os.environ, "RIG_CONFIG": str(config)},
            check=False,
        )


def _write_config(out: Path) -> Path:
    from camera_rig.config import embedded_configs

    path = out / "rig.yaml"
    simulated = embedded_configs()["simulated"].read_text(encoding="utf-8")
    path.write_text(_RIG_FILE.format(simulated=simulated), encoding="utf-8")
    return path


def _run(out: Path, config: Path, step: Step) -> Outcome:
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *step.words],
        cwd=out,
        env={**os.environ, "RIG_CONFIG": str(config), "COLUMNS": "100", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    outcome = Outcome(step.name, done.returncode, done.stdout, time.monotonic() - began_s)
    if outcome.code == 0:
        path = _state(out, step)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"words": step.words, **asdict(outcome)}), encoding="utf-8")
    return outcome


def _kept(out: Path, step: Step) -> Outcome | None:
    """Return the outcome of an earlier run of the very same command, if it succeeded."""
    path = _state(out, step)
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    if tuple(kept.pop("words")) != step.words:
        return None
    return Outcome(**kept)


def _state(out: Path, step: Step) -> Path:
    return out / "steps" / f"{step.name}.json"
