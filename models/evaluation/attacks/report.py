"""A run as files: JSON for programs, CSV for tables, one page for people."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from camera_rig.errors import StateError
from models.evaluation.attacks.cameras import CONTROL, OWN
from models.evaluation.attacks.catalogue import ATTACKS
from models.evaluation.attacks.figures import CellResult, CurveRecord, Range, Ranks
from models.evaluation.attacks.run import RUN, cells_of, picture_file
from models.evaluation.attacks.verdict import headline, losses

__all__ = ["CSV", "JSON", "PAGE", "write_report"]

JSON, CSV, PAGE = "attack.json", "attack.csv", "attack.html"

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem;margin-bottom:.3rem} h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse;margin:.6rem 0} th{min-width:6rem}
th,td{padding:.25rem .7rem .25rem 0;text-align:left;
border-bottom:1px solid #ddd;vertical-align:top} td.n{font-variant-numeric:tabular-nums;
white-space:nowrap} td.n div{margin-bottom:.4rem} small{color:#666}
.verdict{font-size:1.1rem;border-left:4px solid #b3541e;
padding:.3rem .8rem;background:#faf4ef} .curves{display:grid;gap:1rem;
grid-template-columns:repeat(auto-fill,minmax(20rem,1fr))} figure{margin:0}
figcaption{font-size:.85rem;color:#444} img{max-width:100%} .short{color:#a3160a}
"""


def write_report(folder: Path) -> str:
    """Write all three files of a run folder; return the one-line verdict.

    Raises:
        StateError: Nothing was carried out in this folder.
    """
    cells = cells_of(folder)
    if not cells or not (folder / RUN).exists():
        raise StateError(f"{folder} holds no attacks", hint="run `rig attack` into it first")
    told = json.loads((folder / RUN).read_text(encoding="utf-8"))
    verdict = headline(cells)
    lost = losses(cells)
    data = {
        "verdict": verdict,
        "losses": [str(loss) for loss in lost],
        "run": told,
        "cells": [cell.model_dump(mode="json") for cell in cells],
    }
    (folder / JSON).write_text(json.dumps(data, indent=1), encoding="utf-8")
    (folder / CSV).write_text(_table_file(cells), encoding="utf-8")
    (folder / PAGE).write_text(_page(folder, told, cells, verdict), encoding="utf-8")
    return verdict


def figures_of(cell: CellResult) -> Iterator[tuple[str, str, Range]]:
    """Yield recogniser (or nothing), name and value of every figure of a cell."""
    for name, rank in cell.ranks.items():
        yield name, "rank-1", rank.rank1
        yield name, "rank-5", rank.rank5
        if rank.own_gallery is not None:
            yield name, "rank-1, gallery through the same", rank.own_gallery
    if cell.psnr_db is not None:
        yield "", "PSNR dB", cell.psnr_db
    if cell.ssim is not None:
        yield "", "SSIM", cell.ssim
    for name, value in cell.extra.items():
        yield "", name, Range(value=value, low=value, high=value)


def _table_file(cells: Sequence[CellResult]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["attack", "camera", "recogniser", "figure", "value", "low", "high"])
    for cell in cells:
        for recogniser, figure, value in figures_of(cell):
            numbers = [f"{v:.5g}" for v in (value.value, value.low, value.high)]
            writer.writerow([cell.attack, cell.camera, recogniser, figure, *numbers])
    return out.getvalue()


def _page(folder: Path, told: dict[str, Any], cells: Sequence[CellResult], verdict: str) -> str:
    cameras = list(dict.fromkeys(cell.camera for cell in cells))
    people = "Synthetic or published faces." if not told["sensitive"] else (
        "Real people: no picture of them is in this page."
    )  # fmt: skip
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Attacks</title>",
        f"<style>{_STYLE}</style></head><body><h1>What attackers get back</h1>",
        f"<p class='verdict'>{escape(verdict)}</p>",
        f"<p>{told['people_sought']} people sought, {told['probes']} frames to be named; attackers "
        f"learned from {told['pictures_learned']} faces of {told['people_learned']} other people, "
        f"at {told['settings']['size_px']} × {told['settings']['size_px']} pixels. {people} "
        "Brackets are 95 % intervals over people. Higher figures are better for the attacker, "
        "worse for privacy.</p>",
        _lost(cells),
        "<h2>Cameras</h2>",
        _cameras(cells, cameras),
        "<h2>People found: rank-1 in a gallery of one sharp photograph each</h2>",
        "<p><small>Every recogniser that was at hand; below, in small, rank-5, and rank-1 when the "
        "gallery went through the same camera and attack.</small></p>",
        _matrix(cells, cameras, _ranks_cell),
        "<h2>Pictures recovered: PSNR and SSIM against the sharp frame</h2>",
        _matrix([c for c in cells if c.psnr_db], cameras, _fidelity_cell),
        "<h2>What each attacker knows</h2>",
        _knowledge(cells),
        _curves(cells),
        _extras(cells),
        _pictures(folder, cells),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _lost(cells: Sequence[CellResult]) -> str:
    if not {cell.camera for cell in cells} - {OWN, CONTROL}:
        return "<p>No other camera was attacked in this run, so nothing is compared.</p>"
    lost = losses(cells)
    if not lost:
        return "<p>In no comparison does the learned optics give back more than another camera.</p>"
    rows = "".join(
        f"<tr><th>{escape(ATTACKS[loss.attack].title)}</th><td>{escape(loss.camera)}</td>"
        f"<td>{loss.figure}</td><td class='n'>{_told(loss.own)}</td>"
        f"<td class='n'>{_told(loss.other)}</td>"
        f"<td>{'<b>clearly</b>' if loss.clear else 'the intervals meet'}</td></tr>"
        for loss in lost
    )
    head = "<tr><th>it gives back more to</th><th>than</th><th></th><th>learned optics</th>"
    return (
        "<h2>Where the learned optics loses</h2>"
        f"<table>{head}<th>the other</th><th></th></tr>{rows}</table>"
    )


def _cameras(cells: Sequence[CellResult], cameras: Sequence[str]) -> str:
    detail = {cell.camera: cell.detail for cell in cells}
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(detail[name])}</td></tr>" for name in cameras
    )
    return f"<table>{rows}</table>"


def _matrix(cells: Sequence[CellResult], cameras: Sequence[str], show: Any) -> str:
    by_place = {(cell.attack, cell.camera): cell for cell in cells}
    head = "".join(f"<th>{escape(camera)}</th>" for camera in cameras)
    rows = []
    for attack in dict.fromkeys(cell.attack for cell in cells):
        row = "".join(f"<td class='n'>{show(by_place.get((attack, c)))}</td>" for c in cameras)
        title = escape(ATTACKS[attack].title)
        rows.append(f"<tr><th>{title}<br><small>{escape(attack)}</small></th>{row}</tr>")
    return f"<table><tr><th>attack</th>{head}</tr>{''.join(rows)}</table>"


def _ranks_cell(cell: CellResult | None) -> str:
    if cell is None:
        return "–"
    parts = (f"<div>{escape(name)}<br>{_rank(rank)}</div>" for name, rank in cell.ranks.items())
    return "".join(parts)


def _rank(rank: Ranks) -> str:
    own = "" if rank.own_gallery is None else f", same gallery {rank.own_gallery.value:.2f}"
    return f"<b>{_told(rank.rank1)}</b><br><small>r5 {rank.rank5.value:.2f}{own}</small>"


def _fidelity_cell(cell: CellResult | None) -> str:
    if cell is None or cell.psnr_db is None or cell.ssim is None:
        return "–"
    return f"{_told(cell.psnr_db, 1)} dB<br>SSIM {_told(cell.ssim)}"


def _told(figure: Range, digits: int = 2) -> str:
    low, high = f"{figure.low:.{digits}f}", f"{figure.high:.{digits}f}"
    return f"{figure.value:.{digits}f} <small>[{low}, {high}]</small>"


def _knowledge(cells: Sequence[CellResult]) -> str:
    known = {cell.attack: cell for cell in cells}
    rows = "".join(
        f"<tr><th>{escape(ATTACKS[name].title)}<br><small>{escape(name)}</small></th>"
        f"<td>{escape('; '.join(cell.knows))}</td></tr>"
        for name, cell in known.items()
    )
    return f"<table>{rows}</table>"


def _curves(cells: Sequence[CellResult]) -> str:
    drawn = [(cell, cell.curve) for cell in cells if cell.curve is not None]
    if not drawn:
        return ""
    figures = "".join(
        f"<figure>{_curve(curve)}<figcaption>{escape(cell.attack)}, {escape(cell.camera)}: "
        f"{escape(curve.figure)}; {curve.steps[-1]} updates, {curve.seconds:.0f} s"
        + (
            " <b class='short'>not shown to have levelled off: trained too short</b>"
            if curve.still_rising
            else ""
        )
        + "</figcaption></figure>"
        for cell, curve in drawn
    )
    return f"<h2>Learning curves of the trained attackers</h2><div class='curves'>{figures}</div>"


def _curve(curve: CurveRecord) -> str:
    """A line over updates, drawn by hand: the page must stand alone and be small."""
    wide, high, left, low = 320, 150, 44, 22
    bottom, top = min(curve.held_out), max(curve.held_out)
    span, steps = (top - bottom) or 1.0, max(curve.steps[-1], 1)
    places = [
        (left + (wide - left - 8) * s / steps, high - low - (high - low - 10) * (v - bottom) / span)
        for s, v in zip(curve.steps, curve.held_out, strict=True)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='2.5' fill='#0b5394'/>" for x, y in places)
    text = "font-size='11' fill='#555'"
    return (
        f"<svg viewBox='0 0 {wide} {high}' role='img' aria-label='learning curve'>"
        f"<path d='M{left} 6V{high - low}H{wide - 4}' fill='none' stroke='#999'/>"
        f"<polyline points='{line}' fill='none' stroke='#0b5394' stroke-width='1.6'/>{dots}"
        f"<text x='2' y='14' {text}>{top:.3g}</text>"
        f"<text x='2' y='{high - low}' {text}>{bottom:.3g}</text>"
        f"<text x='{left}' y='{high - 6}' {text}>0</text>"
        f"<text x='{wide - 4}' y='{high - 6}' text-anchor='end' {text}>{steps} updates</text></svg>"
    )


def _extras(cells: Sequence[CellResult]) -> str:
    rows = [
        f"<tr><th>{escape(cell.attack)}, {escape(cell.camera)}</th><td>{escape(name)}</td>"
        f"<td class='n'>{value:.3g}</td></tr>"
        for cell in cells
        for name, value in cell.extra.items()
    ]
    notes = [
        f"<li>{escape(cell.attack)}, {escape(cell.camera)}: {escape(note)}</li>"
        for cell in cells
        for note in cell.notes
    ]
    table = f"<h2>Further figures</h2><table>{''.join(rows)}</table>" if rows else ""
    return table + (f"<h2>Notes</h2><ul>{''.join(notes)}</ul>" if notes else "")


def _pictures(folder: Path, cells: Sequence[CellResult]) -> str:
    shown = [("the sharp frames", folder / "pictures" / "truth.png")]
    shown += [(f"{cell.attack}, {cell.camera}", picture_file(folder, cell)) for cell in cells]
    figures = "".join(
        f"<figure><img alt='{escape(title)}' src='{_embedded(file)}'>"
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for title, file in shown
        if file.exists()
    )
    return f"<h2>Examples</h2><div class='curves'>{figures}</div>" if figures else ""


def _embedded(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
