"""One evaluation: measure, judge, say it in one line, write it as JSON, CSV and a page."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from camera_rig.errors import ConfigError, StorageError
from models.evaluation import identity as who
from models.evaluation.figures import Bench, Calibration, Judged, judge, make_bench
from models.evaluation.gates import Gates, Verdict, judge_gates
from models.evaluation.gauges import STANDARD, VIDEO, check_ready
from models.evaluation.material import Material
from models.evaluation.meanings import RECOGNISERS
from models.evaluation.measuring import Measured, Progress, measure_all
from models.evaluation.movement import video_figures
from models.evaluation.statistics import Crowd, Figure
from models.evaluation.store import MeasureStore
from models.evaluation.systems import BUNDLE, ORIGINAL, System, Unprotected
from models.runtime.bundle import Bundle

FORMAT = 1
RESULT, TABLE, PAGE = "evaluation.json", "figures.csv", "index.html"


@dataclass(frozen=True)
class Protocol:
    """How an evaluation is made.

    Args:
        gauges: What is measured.
        gates: Limits to keep.
        workers: Processes; 0 measures in this one.
        seed: Decides all draws of intervals.
    """

    gauges: tuple[str, ...] = STANDARD
    gates: Gates | None = None
    workers: int = 0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything an evaluation found.

    Args:
        verdict: One line.
        bundle: Name, folder and hash of the weights.
        set: Name, kind, people, pictures, groups and hash of what was judged.
        protocol: How it was made.
        calibration: By recogniser, on the sharp faces of this set.
        systems: Figures of every system.
        gates: How every limit was kept; empty without limits.
        software: Version of the toolkit.
        took_s: Wall time of this run; rows measured before cost nothing.
        video: What the figures over time were measured on; empty without them.
    """

    verdict: str
    bundle: dict[str, str]
    set: dict[str, Any]
    protocol: dict[str, Any]
    calibration: dict[str, Calibration]
    systems: tuple[Judged, ...]
    gates: tuple[Verdict, ...] = ()
    software: str = ""
    took_s: float = 0.0
    format: int = FORMAT
    video: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True when every limit was kept (or none was set)."""
        return all(verdict.passed for verdict in self.gates)

    def system(self, name: str) -> Judged:
        """Return the figures of one system."""
        return next(system for system in self.systems if system.name == name)


@dataclass(frozen=True, eq=False)
class Raw:
    """The rows behind an evaluation, for its page; never written.

    Args:
        bench: The set and its sharp faces.
        systems: What stands between.
        measured: Rows by system.
    """

    bench: Bench
    systems: tuple[System, ...]
    measured: dict[str, Measured]


def evaluate(
    bundle: Bundle,
    material: Material,
    systems: Sequence[System],
    protocol: Protocol,
    store: MeasureStore,
    *,
    video: Material | None = None,
    progress: Progress | None = None,
) -> tuple[Evaluation, Raw]:
    """Judge systems on a set.

    Args:
        bundle: What they belong to.
        material: The set.
        systems: From :func:`models.evaluation.systems.systems_for`.
        protocol: How.
        store: Rows that are there already, and where new ones go.
        video: Consecutive frames for figures over time; None leaves these out.
        progress: Called with step, pictures done and pictures in all.

    Raises:
        ConfigError: A network is missing, or a limit names no figure or no system.
    """
    from camera_rig import __version__

    began = time.monotonic()
    check_ready(protocol.gauges)
    _check_gated(protocol.gates, systems)
    sharp = Unprotected()
    all_systems = tuple(s for s in systems if s.name != ORIGINAL)
    measured = measure_all(
        material, (sharp, *all_systems), protocol.gauges, store,
        workers=protocol.workers, progress=progress,
    )  # fmt: skip
    bench = make_bench(material, measured[ORIGINAL], seed=protocol.seed)
    judged = [judge(bench, s.name, s.detail, measured[s.name]) for s in systems]
    if video is not None:
        _add_video(judged, systems, video, protocol, store, progress)
    named = {system.name: system.figures for system in judged}
    gates = ()
    if protocol.gates is not None:
        gates = judge_gates(protocol.gates, named[protocol.gates.system])
    result = Evaluation(
        verdict=_verdict(bench, named.get(BUNDLE, {}), gates),
        bundle={
            "name": bundle.card.name,
            "data": bundle.card.data,
            "optics": bundle.card.optics_id,
            "weights": bundle.card.files["weights.safetensors"],
        },
        set=_set_told(material),
        protocol={"gauges": list(protocol.gauges), "seed": protocol.seed},
        calibration=dict(bench.calibrations),
        systems=tuple(judged),
        gates=gates,
        software=__version__,
        took_s=round(time.monotonic() - began, 1),
        video={} if video is None else _set_told(video),
    )
    return result, Raw(bench, tuple(systems), measured)


def _add_video(
    judged: Sequence[Judged],
    systems: Sequence[System],
    video: Material,
    protocol: Protocol,
    store: MeasureStore,
    progress: Progress | None,
) -> None:
    """Add figures over time, every system in its first style."""
    gauges = tuple(name for name in VIDEO if name in protocol.gauges)
    rows = measure_all(
        video, systems, gauges, store, workers=protocol.workers, progress=progress, references=1
    )
    crowd = Crowd(video.people, video.groups(), protocol.seed)
    for system in judged:
        system.figures.update(video_figures(video, crowd, rows[system.name].rows))


def _set_told(material: Material) -> dict[str, Any]:
    people = material.people
    groups = {
        attribute: {name: len(set(people[mask].tolist())) for name, mask in values.items()}
        for attribute, values in material.groups().items()
    }
    return {
        "name": material.name,
        "kind": material.kind,
        "people": len(set(people.tolist())),
        "pictures": len(people),
        "size_px": material.samples[0].picture.shape[0],
        "exact": material.exact,
        "left_out": material.left_out,
        "groups": groups,
        "key": material.key,
    }


def _check_gated(gates: Gates | None, systems: Sequence[System]) -> None:
    """Refuse limits for something that is not judged: they would pass unseen."""
    names = [system.name for system in systems]
    if gates is not None and gates.system not in names:
        raise ConfigError(
            f"the gate file judges {gates.system!r}, which is not in this evaluation",
            hint=f"there are {', '.join(names)}",
        )


def _verdict(bench: Bench, figures: dict[str, Figure], gates: Sequence[Verdict]) -> str:
    if not figures:
        return "the bundle was not judged"
    worst = max(
        (name for name in bench.calibrations if f"identity.{name}.rank1" in figures),
        key=lambda name: figures[f"identity.{name}.rank1"].value,
        default=None,
    )
    parts = []
    if worst is not None:
        named, chance = figures[f"identity.{worst}.rank1"].value, 1.0 / len(bench.crowd.names)
        parts.append(
            f"the best recogniser ({RECOGNISERS[worst]}) names {100 * named:.1f} % of the outputs "
            f"(chance {100 * chance:.1f} %)"
        )
    protected = [f.value for n, f in figures.items() if n.endswith(".protected")]
    if protected:
        parts.append(f"for each, {100 * min(protected):.1f} % or more lie beyond its threshold")
    found = [f.value for n, f in figures.items() if n.endswith(".found") and n.startswith("use.")]
    if found:
        parts.append(f"a face is found in {100 * min(found):.1f} %")
    truth = figures.get("use.dlib68.landmark_truth_l1_px")
    landmarks = truth or figures.get("use.dlib68.landmark_l1_px")
    if landmarks is not None and math.isfinite(landmarks.value):
        parts.append(f"landmarks are {landmarks.value:.1f} px off at 256")
    if gates:
        kept = sum(verdict.passed for verdict in gates)
        parts.append(f"{kept} of {len(gates)} limits kept")
    return f"On {bench.material.kind}: " + "; ".join(parts) + "."


def write(result: Evaluation, folder: Path, page: str) -> None:
    """Write JSON, CSV and page into a new folder, the JSON last.

    Raises:
        StorageError: A finished evaluation is there, or the folder cannot be written.
    """
    refuse_finished(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in ((TABLE, as_csv(result)), (PAGE, page), (RESULT, as_json(result))):
            aside = folder / f".{name}"
            aside.write_text(text, encoding="utf-8")
            aside.replace(folder / name)
    except OSError as error:
        raise StorageError(
            f"cannot write {folder}: {error}", hint="check disk space and permissions"
        ) from error


def refuse_finished(folder: Path) -> None:
    """Refuse to write over a finished evaluation.

    Raises:
        StorageError: There is one.
    """
    if (folder / RESULT).exists():
        raise StorageError(f"{folder} holds an evaluation", hint="choose another --out")


def as_json(result: Evaluation) -> str:
    """Return a result as JSON; what is not a number is null."""
    return json.dumps(_plain(asdict(result)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(result: Evaluation) -> str:
    """Return all figures as one long table, one line per figure and group."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["system", "figure", "attribute", "group", "value", "low", "high", "count"])
    for system in result.systems:
        for name, figure in system.figures.items():
            numbers = (figure.value, figure.low, figure.high)
            rows.writerow([system.name, name, "", "", *map(_cell, numbers), figure.count])
            for attribute, groups in figure.groups.items():
                for group, (value, people) in groups.items():
                    cells = [_cell(value), "", "", people]
                    rows.writerow([system.name, name, attribute, group, *cells])
    return text.getvalue()


def load(folder: str | Path) -> Evaluation:
    """Read a finished evaluation.

    Raises:
        StorageError: There is none, or it is of another format.
    """
    file = Path(folder)
    file = file / RESULT if file.is_dir() else file
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        return _rebuilt(content)
    except FileNotFoundError as error:
        raise StorageError(
            f"there is no evaluation at {folder}",
            hint="give the folder of a `rig evaluate` run",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{file} is no evaluation: {error}", hint="give the folder of a `rig evaluate` run"
        ) from error


def _rebuilt(content: dict[str, Any]) -> Evaluation:
    systems = tuple(
        Judged(**{**system, "figures": {k: _figure(v) for k, v in system["figures"].items()}})
        for system in content["systems"]
    )
    calibration = {
        name: Calibration(_verification(told["verification"]), told["swap_floor"])
        for name, told in content["calibration"].items()
    }
    gates = tuple(Verdict(**told) for told in content["gates"])
    return Evaluation(**{**content, "systems": systems, "calibration": calibration, "gates": gates})


def _figure(told: dict[str, Any]) -> Figure:
    value = float("nan") if told["value"] is None else told["value"]
    groups = {
        attribute: {
            name: (float("nan") if pair[0] is None else pair[0], pair[1])
            for name, pair in values.items()
        }
        for attribute, values in told["groups"].items()
    }
    return Figure(**{**told, "value": value, "groups": groups})


def _verification(told: dict[str, Any]) -> who.Verification:
    rates = {float(rate): value for rate, value in told["tpr_at_fpr"].items()}
    return who.Verification(**{**told, "tpr_at_fpr": rates})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value


def _cell(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"
