"""What the mirror code gives: shapes on the twin, hysteresis, feasibility, stroke.

Run ``python benchmarks/mirror.py [SECTION ...]``; without a section all run. Each writes
its part of ``benchmarks/results/mirror.json``.

==========  ===================================================================
histories   the published set on the twin after 50 random histories: true
            wavefront against the wanted one, with and without compensation
preisach    300 random set-points on electrodes that follow another law of
            hysteresis (Preisach) than the model that is fitted to them
sets        1,000 random coefficient sets: feasible, refused by name, nearest
stroke      largest single modes against a pseudo-inverse of the same matrix
==========  ===================================================================

Figures come from models of a mirror, not from a mirror.
"""

from __future__ import annotations

import copy
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linprog

from camera_rig.bench import Bench
from camera_rig.clock import ManualClock
from camera_rig.contracts import DeviceContext
from camera_rig.mirror.creep import CreepModel, fit_creep, without_creep
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators, fit_play
from camera_rig.mirror.influence import InfluenceMatrix, InfluenceModel
from camera_rig.mirror.memory import HysteresisMemory
from camera_rig.mirror.modal import CONTROLLED, ModalMirror, ModalOptions
from camera_rig.mirror.shape import Fit
from camera_rig.mirror.solve import ShapeProblem
from camera_rig.optics import Coefficients
from camera_rig.twin.devices import TwinMirror
from camera_rig.twin.world import World, WorldOptions

RESULTS = Path(__file__).parent / "results" / "mirror.json"
PAPER = Path(__file__).parents[1] / "hw_configs" / "coefficients" / "lopez2024.yaml"


class RecordingMirror(TwinMirror):
    """The twin's mirror, with a list of everything that was sent to it (V)."""

    wire: list[np.ndarray]

    def _do_open(self) -> None:
        super()._do_open()
        self.wire = []

    def _do_apply(self, command_v: np.ndarray) -> None:
        self.wire.append(np.array(command_v))
        super()._do_apply(command_v)


def twin(seed: int, **hidden: Any) -> tuple[World, RecordingMirror]:
    clock = ManualClock()
    options = WorldOptions.model_validate({"seed": seed, "mirror": hidden})
    world = World(options, Bench(), clock)
    mirror = RecordingMirror(TwinMirror.Options(), DeviceContext("mirror", clock, world))
    mirror.open()
    return world, mirror


def sweep() -> np.ndarray:
    """First-order reversals: down from the top to ever deeper turns and back."""
    legs = [np.linspace(0, 1, 20), np.linspace(1, -1, 40)]
    for turn in np.linspace(0.8, -0.8, 9):
        legs += [np.linspace(-1, turn, 24), np.linspace(turn, -1, 24)]
    legs += [np.linspace(-1, 1, 40)]
    for turn in np.linspace(-0.8, 0.8, 9):
        legs += [np.linspace(1, turn, 24), np.linspace(turn, 1, 24)]
    return np.concatenate(legs)


def fitted_on_twin(seed: int, creep: CreepModel | None, **hidden: Any) -> PlayModel:
    """Record a sweep of the relaxed twin with 0.5 % noise and fit; truth stays hidden."""
    world, mirror = twin(seed, **hidden)
    list(mirror.relax())
    rng = np.random.default_rng(seed)
    drive, answers, at_s = sweep(), [], []
    for level in drive:
        mirror.apply(np.full(40, 150.0 + 150.0 * level), reason="record")
        answers.append(world.truth.mirror_response())
        at_s.append(mirror.clock.now_ns() * 1e-9)
    record = np.array(answers)
    record = record + 0.01 * rng.standard_normal(record.shape)
    if creep is not None:
        record = without_creep(creep, np.array(at_s), record)
    return fit_play(drive, record)[0]


def fitted_creep(seed: int, **hidden: Any) -> CreepModel | None:
    """Watch one step of the twin for half an hour with 0.2 % noise."""
    world, mirror = twin(seed, **hidden)
    list(mirror.relax())
    before = world.truth.mirror_response()
    mirror.apply(np.full(40, 225.0), reason="record")
    since = np.geomspace(0.05, 1800.0, 40)
    record = [world.truth.mirror_response()]
    for wait in np.diff(since, prepend=0.0):
        mirror.clock.sleep(float(wait))
        record.append(world.truth.mirror_response())
    drift = np.array(record[1:]) - record[1]
    drift += 0.004 * np.random.default_rng(seed).standard_normal(drift.shape)
    return fit_creep(since, drift, record[0] - before)[0]


def histories(count: int = 50) -> dict[str, Any]:
    """Residual of the published set after random histories, all modes but tilt."""
    found: dict[str, Any] = {}
    for label, hidden in (("with creep", {}), ("without creep", {"creep_per_decade": 0.0})):
        creep = fitted_creep(1, **hidden)
        plain = fitted_on_twin(1, None, **hidden)
        model = fitted_on_twin(1, creep, **hidden)
        ways = (
            "straight line",
            "play inverse",
            "play inverse and creep",
            "relax, then play inverse",
            "relax, then play inverse and creep",
        )
        found[f"creep found, {label}"] = None if creep is None else round(creep.per_decade, 4)
        wavefront: dict[str, list[float]] = {way: [] for way in ways}
        stroke: dict[str, list[float]] = {way: [] for way in ways}
        planned: list[float] = []
        for way in ways:
            world, mirror = twin(1, **hidden)
            influence = world.truth.influence()
            drift = creep if way.endswith("creep") else None
            law = model if way.endswith("creep") else plain
            memory = HysteresisMemory(law, creep=drift) if "play" in way else None
            if memory is not None:
                memory.attach(mirror)
            list(mirror.relax())
            rng = np.random.default_rng(7)
            modal = ModalMirror(mirror, influence, memory)
            for _ in range(count):
                for _ in range(int(rng.integers(1, 12))):
                    mirror.apply(rng.uniform(45, 255, 40), reason="history")
                    mirror.clock.sleep(float(rng.uniform(0, 2)))
                if way.startswith("relax"):
                    list(mirror.relax())
                plan = modal.load(Coefficients.load(PAPER)).plan
                planned.append(plan.residual_um)
                wanted = plan.shape_um
                got = world.truth.mirror_wavefront().to(unit="um_rms").values
                error = [got.get(m, 0.0) - v for m, v in wanted.items() if m[0] >= 2]
                wavefront[way].append(float(np.linalg.norm(error)) / 0.55e-3)
                aim = np.linalg.lstsq(influence.um_per_unit, list(wanted.values()), rcond=None)[0]
                off = influence.um_per_unit @ (world.truth.mirror_response() - aim)
                spread = np.sqrt(np.mean(np.sum(influence.um_per_unit**2, axis=0)))
                stroke[way].append(float(np.linalg.norm(off) / spread / np.sqrt(40) / 2))
        found[label] = {
            way: {
                "wavefront_mwaves_rms": round(float(np.sqrt(np.mean(np.square(w)))), 1),
                "wavefront_mwaves_worst": round(float(np.max(w)), 1),
                "electrodes_percent_of_stroke_rms": round(
                    100 * float(np.sqrt(np.mean(np.square(stroke[way])))), 3
                ),
            }
            for way, w in wavefront.items()
        }
    found["fit of the shape itself, mwaves"] = round(float(np.mean(planned)) / 0.55e-3, 1)
    found["histories"] = count
    return found


class Preisach:
    """Relays over the half-plane of up and down thresholds, denser low: not our law."""

    def __init__(self, cells: int = 160) -> None:
        level = (np.arange(cells) + 0.5) / cells * 2 - 1
        up, down = np.meshgrid(level, level, indexing="ij")
        keep = up >= down
        self.up, self.down = up[keep], down[keep]
        width = self.up - self.down
        middle = (self.up + self.down) / 2
        weight = np.exp(-width / 0.30) * (1 + 0.35 * middle)
        weight += 0.9 * cells * 0.02 * (width < 2.0 / cells)
        self.weight = weight / weight.sum()
        self.state = np.where(middle > 0, -1.0, 1.0)

    def __call__(self, voltage: float) -> float:
        self.state[self.up <= voltage] = 1.0
        self.state[self.down >= voltage] = -1.0
        return float(self.weight @ self.state)


def preisach(points: int = 300) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    truth = Preisach()
    rising = [truth(v) for v in np.linspace(-1, 1, 401)]
    falling = [truth(v) for v in np.linspace(1, -1, 401)]
    opening = float(np.max(np.array(falling)[::-1] - rising) / 2)
    truth = Preisach()
    drive = sweep()
    record = np.array([truth(v) for v in drive])
    noisy = record + 0.01 * rng.standard_normal(record.shape)
    model, _ = fit_play(drive, noisy[:, None])
    line = np.polyfit(record, drive, 1)
    wanted = rng.uniform(-0.7, 0.7, points)
    errors: dict[str, list[float]] = {}

    def run(label: str, command: Callable[[float], float], after: Callable[[float], Any]) -> None:
        mirror = Preisach()
        for v in drive:
            mirror(v)
        errors[label] = []
        for target in wanted:
            voltage = command(target)
            errors[label].append(mirror(voltage) - target)
            after(voltage)

    run("straight line", lambda y: float(np.polyval(line, y)), lambda v: None)
    play = PlayOperators(model)
    for v in drive:
        play.advance(np.array([v]))
    run(
        "play inverse",
        lambda y: float(play.inverse(np.array([y]))[0]),
        lambda v: play.advance(np.array([v])),
    )
    # Relax before each: the same start every time, so one look-up curve serves.
    swings = [(1 - k / 199) * (1 if k % 2 == 0 else -1) for k in range(200)]
    curve_v = np.linspace(-1, 1, 201)

    rested = Preisach()
    for each in swings:
        rested(each)

    def relaxed(v: float) -> float:
        mirror = copy.copy(rested)
        mirror.state = rested.state.copy()
        return mirror(v)

    curve = np.array([relaxed(v) for v in curve_v])
    look = [relaxed(float(np.interp(y, curve, curve_v))) - y for y in wanted[:100]]
    errors["relax, then look-up"] = look
    return {
        "opening_percent": round(100 * opening, 1),
        **{
            label: {
                "percent_of_stroke_rms": round(50 * float(np.sqrt(np.mean(np.square(e)))), 2),
                "percent_of_stroke_worst": round(50 * float(np.max(np.abs(e))), 2),
            }
            for label, e in errors.items()
        },
    }


def sets(count: int = 1000) -> dict[str, Any]:
    rng = np.random.default_rng(11)
    _, mirror = twin(1)
    matrix = InfluenceModel(Bench().mirror, 14.0).matrix()
    modal = ModalMirror(mirror, matrix)
    tally = dict.fromkeys(
        (
            "feasible",
            "refused",
            "refused, one mode blown up on purpose",
            "that mode named",
            "that mode named alone",
            "oracle disagrees",
            "excess taken off fits",
            "nearest beats clipped pseudo-inverse",
            "largest scale fits and 1 % more does not",
        ),
        0,
    )
    took = []
    for number in range(count):
        values = rng.standard_normal(12)
        values *= rng.uniform(0.1, 5.0) / np.linalg.norm(values)
        culprit = None
        if number % 3 == 0:
            values *= 0.5 / np.linalg.norm(values)
            culprit = int(rng.integers(12))
            values[culprit] = rng.choice([-1, 1]) * rng.uniform(8, 16)
        shape = Coefficients(dict(zip(CONTROLLED, values, strict=True)), "waves_rms", 550.0)
        began = time.perf_counter()
        plan = modal.plan(shape)
        took.append(time.perf_counter() - began)
        asked = problem(matrix, values * 0.55)
        tally["oracle disagrees"] += oracle(asked) != plan.feasible
        if plan.feasible:
            tally["feasible"] += 1
            modal.load(shape)
            continue
        tally["refused"] += 1
        named = {line.mode: line.excess_um for line in plan.lines if line.excess_um}
        if culprit is not None:
            tally["refused, one mode blown up on purpose"] += 1
            tally["that mode named"] += CONTROLLED[culprit] in named
            tally["that mode named alone"] += set(named) == {CONTROLLED[culprit]}
        mended = {m: v - named.get(m, 0.0) / 0.55 for m, v in shape.values.items()}
        tally["excess taken off fits"] += oracle(
            replace(asked, wanted_um=np.array([mended[m] * 0.55 for m in CONTROLLED]))
        )
        near = modal.plan(shape, Fit.NEAREST)
        modal.load(shape, Fit.NEAREST)
        rows = np.vstack([asked.asked, asked.beyond])
        goal = np.r_[asked.wanted_um, asked.beyond_um]
        clipped = np.clip(np.linalg.pinv(rows, rcond=1e-3) @ goal, -1, 1)
        worse = np.linalg.norm(rows @ clipped - goal)
        tally["nearest beats clipped pseudo-inverse"] += near.residual_um <= worse
        scaled = modal.plan(shape, Fit.SCALE)
        modal.load(shape, Fit.SCALE)
        more = problem(matrix, values * 0.55 * scaled.scale * 1.01)
        less = problem(matrix, values * 0.55 * scaled.scale * 0.999)
        tally["largest scale fits and 1 % more does not"] += oracle(less) and not oracle(more)
    wire = np.array([np.full(40, 150.0), *mirror.wire])
    allowed_v = mirror.slew_v_per_s * mirror.step_s
    return {
        "sets": count,
        **{name: int(value) for name, value in tally.items()},
        "commands sent": len(mirror.wire),
        "commands outside the limits": int(((wire < 0) | (wire > 300)).any(axis=1).sum()),
        "steps above the slew": int(
            (np.abs(np.diff(wire, axis=0)).max(axis=1) > allowed_v * (1 + 1e-9)).sum()
        ),
        "plan_ms_median": round(1e3 * float(np.median(took)), 2),
        "plan_ms_worst": round(1e3 * float(np.max(took)), 1),
    }


def problem(matrix: InfluenceMatrix, wanted_um: np.ndarray) -> ShapeProblem:
    """The question as the planner is told to ask it, put together anew."""
    size_um, options = float(np.linalg.norm(wanted_um)), ModalOptions()
    return ShapeProblem(
        asked=matrix.um_per_unit[3:15],
        beyond=matrix.um_per_unit[15:],
        wanted_um=wanted_um,
        beyond_um=np.zeros(len(matrix.modes) - 15),
        low=-np.ones(40),
        high=np.ones(40),
        tolerance_um=max(options.least_tolerance_um, options.tolerance * size_um),
        beyond_tolerance_um=max(options.least_tolerance_um, options.beyond_share * size_um),
    )


def oracle(problem: ShapeProblem) -> bool:
    """Whether any responses fit: smallest worst violation, by interior point."""
    matrix = np.vstack(
        [problem.asked / problem.tolerance_um, problem.beyond / problem.beyond_tolerance_um]
    )
    goal = np.r_[
        problem.wanted_um / problem.tolerance_um, problem.beyond_um / problem.beyond_tolerance_um
    ]
    ones = np.ones((len(matrix), 1))
    found = linprog(
        np.r_[np.zeros(problem.actuators), 1.0],
        A_ub=np.block([[matrix, -ones], [-matrix, -ones]]),
        b_ub=np.r_[goal, -goal],
        bounds=[*zip(problem.low, problem.high, strict=True), (0, None)],
        method="highs-ipm",
    )
    return bool(found.fun <= 1.0 + 1e-5)


def stroke() -> dict[str, Any]:
    _, mirror = twin(1)
    matrix = InfluenceModel(Bench().mirror, 14.0).matrix()
    modal = ModalMirror(mirror, matrix)
    rows = matrix.um_per_unit[3:36]
    table = {}
    for place, (down, up) in enumerate(modal.strokes_um().values()):
        unit = np.linalg.lstsq(rows, np.eye(len(rows))[place], rcond=1e-3)[0]
        plain = 1.0 / np.abs(unit).max()
        limited = min(down, up)
        table[f"Noll {place + 4}"] = {
            "waves_rms": round(limited / 0.55, 2),
            "pseudo_inverse_waves_rms": round(plain / 0.55, 2),
            "ratio": round(limited / plain, 2),
        }
    ratios = [row["ratio"] for row in table.values()]
    return {"modes": table, "ratio_median": round(float(np.median(ratios)), 2)}


def main() -> None:
    sections = {"histories": histories, "preisach": preisach, "sets": sets, "stroke": stroke}
    wanted = sys.argv[1:] or list(sections)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["machine"] = {"python": platform.python_version(), "cpu": platform.machine()}
    for name in wanted:
        began = time.perf_counter()
        results[name] = sections[name]()
        results[name]["took_s"] = round(time.perf_counter() - began, 1)
        print(name, json.dumps(results[name], indent=1))
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
