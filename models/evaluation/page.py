"""The page a reviewer reads: tables laid out like the paper's, one file, nothing from outside."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camera_rig.errors import StorageError
from models.evaluation.charts import Line, group_chart, histogram_chart, roc_chart
from models.evaluation.embedders import Picture
from models.evaluation.figures import Judged
from models.evaluation.gates import Verdict
from models.evaluation.meanings import MEANINGS, READERS, RECOGNISERS, label, meaning
from models.evaluation.run import Evaluation
from models.evaluation.systems import BUNDLE

_HERE = Path(__file__).parent
_COLOURS = {"original": 0, "optics": 1, "bundle": 2, "low-resolution": 3, "defocus": 4,
            "blur": 5, "pixelation": 6}  # fmt: skip
_FAIRNESS = ("protected", "rank1", "found", "landmark_truth_l1_px", "landmark_l1_px")


@dataclass(frozen=True, eq=False)
class Case:
    """One case worth a look.

    Args:
        told: What is special about it.
        pictures: Sharp face, frame and output.
    """

    told: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class Pictures:
    """What may be shown: nothing, unless the people of the set are nobody or agreed.

    Args:
        names: Systems of the overview, in order of its columns.
        rows: One row per person, one picture per system.
        cases: Worst cases.
    """

    names: tuple[str, ...] = ()
    rows: tuple[tuple[Picture, ...], ...] = ()
    cases: tuple[Case, ...] = field(default=())


@dataclass(frozen=True)
class _Table:
    """A table of the page: column groups of (title, figure names with their own titles)."""

    title: str
    told: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]


def render(run: Evaluation, pictures: Pictures | None = None) -> str:
    """Return the page of a run.

    Args:
        run: What was found.
        pictures: What may be shown; None shows no face.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    shown = pictures or Pictures()
    places = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return places.get_template("page.html").render(
        run=run,
        css=_markup((_HERE / "page.css").read_text(encoding="utf-8")),
        set_line=_set_line(run),
        synthetic=run.set["kind"] in ("synthetic heads", "simulated recordings"),
        cards=_cards(run),
        tables=[table for table in (_filled(t, run) for t in _tables(run)) if table["rows"]],
        legend=[{"name": s.name, "colour": _colour(s.name)} for s in run.systems],
        rocs=_rocs(run),
        histograms=_histograms(run),
        fairness=_fairness(run),
        faces=_faces(shown),
        cases=[
            {"told": case.told, "pictures": [_data(p) for p in case.pictures]}
            for case in shown.cases
        ],
        may_show=bool(shown.names),
        gates=[_gate(verdict) for verdict in run.gates],
        calibration=_calibration(run),
        meanings=[MEANINGS[key] for key in _used(run)],
        took=_took(run.took_s),
    )


def _tables(run: Evaluation) -> list[_Table]:
    nets = [name for name in RECOGNISERS if name in run.calibration]

    def identity(*figures: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return tuple((RECOGNISERS[n], tuple(f"identity.{n}.{f}" for f in figures)) for n in nets)

    return [
        _Table(
            "Identity distance",
            "DIS, the mean distance of an output to its own sharp face, as in the paper's tables, "
            "over all styles; and how many outputs lie beyond the threshold of this set.",
            identity("dis", "protected", "diversity"),
        ),
        _Table(
            "Identification",
            "How often the right person is the nearest, or among the five nearest, of a gallery "
            "of one sharp face of each.",
            identity("rank1", "rank5"),
        ),
        _Table(
            "Verification",
            "Whether an output and another sharp moment show one person: the attacker knows where "
            "the face is and sets the threshold on the outputs. TPR is at one false positive in a "
            "thousand; chance is 0.1, 50 and 50 %.",
            identity("tpr", "accuracy", "eer"),
        ),
        _Table(
            "Detection, boxes, landmarks",
            "Whether there is still a face and whether it is where it was, as in the paper's "
            "tables; pixels at 256.",
            (
                (READERS["hog"], ("use.hog.found", "use.hog.box_l1_px")),
                (
                    READERS["centerface"],
                    (
                        "use.centerface.found",
                        "use.centerface.box_l1_px",
                        "use.centerface.landmark_l1_px",
                    ),
                ),
                (
                    READERS["dlib68"],
                    ("use.dlib68.landmark_l1_px", "use.dlib68.landmark_truth_l1_px"),
                ),
            ),
        ),
        _Table(
            "Pose, expression, areas, movement",
            "Readers have errors of their own: the unprotected row shows them.",
            (
                ("pose", ("use.pose_deg", "use.pose_truth_deg")),
                (
                    "expression",
                    ("use.features_error", "use.expression_l1", "use.expression_same"),
                ),
                ("areas", ("use.face_area", "use.eyes_area", "use.mouth_area")),
                ("over the frames", ("use.blink_r", "use.mouth_r")),
            ),
        ),
        _Table(
            "Over time",
            "On consecutive frames, every system in its first style.",
            (
                ("identity, steady", tuple(f"video.{n}.steadiness" for n in nets)),
                (
                    "movement",
                    ("video.found", "video.jitter_px", "video.blink_r", "video.mouth_r"),
                ),
            ),
        ),
        _Table(
            "Picture quality",
            "Networks are named as what they are; neither LPIPS nor FID in the usual sense.",
            (
                ("to the sharp face", ("quality.psnr_db", "quality.ssim", "quality.st_lpips")),
                ("as a set", ("quality.frechet", "quality.kernel")),
            ),
        ),
    ]


def _filled(table: _Table, run: Evaluation) -> dict[str, Any]:
    """Leave out columns that nobody has and rows that have none of them."""
    there = {name for system in run.systems for name in system.figures}
    groups = [(title, [n for n in names if n in there]) for title, names in table.groups]
    groups = [(title, names) for title, names in groups if names]
    columns = [name for _, names in groups for name in names]
    rows = [
        {
            "name": system.name,
            "detail": system.detail,
            "own": system.name == BUNDLE,
            "cells": [_cell(system, name) for name in columns],
        }
        for system in run.systems
        if any(name in system.figures for name in columns)
    ]
    return {
        "title": table.title,
        "told": table.told,
        "groups": [{"name": title, "span": len(names)} for title, names in groups],
        "columns": [_column(name) for name in columns],
        "rows": rows,
    }


def _column(name: str) -> dict[str, str]:
    tell = meaning(name)
    arrow = {1: " ↑", -1: " ↓", 0: ""}[tell.sign]
    unit = f", {tell.unit}" if tell.unit else ""
    network = RECOGNISERS.get(name.split(".")[1], "") if name.startswith("video.") else ""
    return {"label": f"{network or tell.label}{unit}{arrow}", "told": tell.told}


def _cell(system: Judged, name: str) -> dict[str, str]:
    figure = system.figures.get(name)
    if figure is None:
        return {"text": "–", "interval": ""}
    tell = meaning(name)
    return {"text": tell.text(figure.value), "interval": tell.interval(figure)}


def _cards(run: Evaluation) -> list[dict[str, str]]:
    figures = next((s.figures for s in run.systems if s.name == BUNDLE), {})
    chance = 100.0 / max(run.set["people"], 1)
    ranks = {
        n: figures[k].value for n in run.calibration if (k := f"identity.{n}.rank1") in figures
    }
    cards = []
    if ranks:
        best = max(ranks, key=lambda name: ranks[name])
        cards.append(
            ("identity.x.rank1", ranks[best],
             f"named by the best recogniser, {RECOGNISERS[best]} (chance {chance:.1f} %)")
        )  # fmt: skip
    protected = [f.value for n, f in figures.items() if n.endswith(".protected")]
    if protected:
        cards.append(
            ("identity.x.protected", min(protected), "beyond every recogniser's threshold")
        )
    found = {n: f.value for n, f in figures.items() if n.endswith(".found") and n[:3] == "use"}
    if found:
        least = min(found, key=lambda name: found[name])
        cards.append((least, found[least], f"found as a face by {READERS[least.split('.')[1]]}"))
    for name in ("use.dlib68.landmark_truth_l1_px", "use.dlib68.landmark_l1_px"):
        if name in figures:
            cards.append((name, figures[name].value, "landmarks off, at 256 pixels"))
            break
    return [
        {"value": meaning(name).text(value), "unit": meaning(name).unit, "told": text}
        for name, value, text in cards
    ]


def _rocs(run: Evaluation) -> list[dict[str, Any]]:
    charts = []
    for name in run.calibration:
        lines = [
            Line(s.name, _colour(s.name), s.curves[name]["fpr"], s.curves[name]["tpr"])
            for s in run.systems
            if name in s.curves
        ]
        charts.append({"title": RECOGNISERS[name],
                       "svg": _markup(roc_chart(lines, RECOGNISERS[name]))})  # fmt: skip
    return charts


def _histograms(run: Evaluation) -> list[dict[str, Any]]:
    bundle = next((s for s in run.systems if s.name == BUNDLE), None)
    charts = []
    for name, curve in (bundle.curves if bundle else {}).items():
        series = [
            Line("one person", 3, (), curve["same"]),
            Line("two people", 0, (), curve["different"]),
            Line("output and its own", 2, (), curve["own"]),
        ]
        svg = histogram_chart(curve["edges"], series, RECOGNISERS[name])
        charts.append({"title": RECOGNISERS[name], "svg": _markup(svg)})
    return charts


def _fairness(run: Evaluation) -> list[dict[str, Any]]:
    bundle = next((s for s in run.systems if s.name == BUNDLE), None)
    charts = []
    for name, figure in (bundle.figures if bundle else {}).items():
        if name.rsplit(".", 1)[-1] not in _FAIRNESS or not figure.groups:
            continue
        tell = meaning(name)
        texts = {g: tell.text(v) for some in figure.groups.values() for g, (v, _) in some.items()}
        svg = group_chart(figure.groups, figure.value, texts)
        if svg:
            told = "; ".join(
                f"{attribute}: gap {tell.text(gap)}, by chance up to "
                f"{tell.text(figure.chance_gaps.get(attribute))}"
                for attribute, gap in figure.gaps.items()
            )
            unit = f", {tell.unit}" if tell.unit else ""
            charts.append({"title": label(name) + unit, "svg": _markup(svg), "told": told})
    return charts


def _faces(shown: Pictures) -> dict[str, Any] | None:
    if not shown.names:
        return None
    return {"names": shown.names, "pictures": [_data(p) for row in shown.rows for p in row]}


def _gate(verdict: Verdict) -> dict[str, Any]:
    tell = meaning(verdict.figure)
    return {
        "figure": label(verdict.figure),
        "asked": verdict.asked,
        "value": f"{tell.text(verdict.value)}{tell.unit}",
        "passed": verdict.passed,
    }


def _calibration(run: Evaluation) -> list[list[str]]:
    rows = []
    for name, found in run.calibration.items():
        v = found.verification
        rows.append(
            [
                RECOGNISERS[name],
                f"{100 * v.eer:.2f} %",
                f"{v.eer_threshold:.3f}",
                f"{v.auc:.4f}",
                f"{100 * next(iter(v.tpr_at_fpr.values())):.1f} %",
                f"{found.swap_floor:.3f}",
                f"{v.same:,}",
                f"{v.different:,}",
            ]
        )
    return rows


def _used(run: Evaluation) -> list[str]:
    there = {name.rsplit(".", 1)[-1] for system in run.systems for name in system.figures}
    return [key for key in MEANINGS if key in there]


def _set_line(run: Evaluation) -> str:
    told = run.set
    text = (
        f"{told['pictures']} pictures of {told['people']} people ({told['kind']}, {told['name']}), "
        f"{told['size_px']} px."
    )
    if told["left_out"]:
        text += f" {told['left_out']} pictures left out: no face was found in the sharp picture."
    return text


def _took(seconds: float) -> str:
    if not math.isfinite(seconds):
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _colour(name: str) -> int:
    return _COLOURS.get(name, 7)


def _markup(text: str) -> Any:
    """Mark our own SVG and CSS as finished; everything else is escaped."""
    from markupsafe import Markup

    return Markup(text)


def _data(picture: Picture) -> str:
    import cv2

    done, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86])
    if not done:
        raise StorageError("a picture could not be coded", hint="report this: it should not happen")
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()
