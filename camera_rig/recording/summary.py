"""The summary page of a prepared set: counts and histograms, no picture of anybody."""

from __future__ import annotations

import html
from collections import Counter
from pathlib import Path

import numpy as np

from camera_rig.recording._files import write_aside
from camera_rig.recording.prepared import Sample, SetManifest

__all__ = ["write_summary"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1f24; background: #fff; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
td, th { padding: .2rem .9rem .2rem 0; text-align: left; border-bottom: 1px solid #d8dee4; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
svg { width: 28rem; max-width: 100%; height: 9rem; } .bar { fill: #2f6f9f; }
figure { margin: 0 0 1.2rem; } figcaption { font-weight: 600; }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117; }
  td, th { border-color: #30363d; } .bar { fill: #6cb2e0; } text { fill: #e6edf3; } }
"""
_HISTOGRAMS = (
    ("skew_ms", "Skew of the pairs, ms"),
    ("sharpness", "Sharpness of the side face"),
    ("mean", "Mean grey value of the face"),
    ("eyes_closed", "Eyes closed, 0 to 1"),
    ("yaw_deg", "Turn of the head, degrees"),
)


def write_summary(path: Path, manifest: SetManifest, samples: list[Sample]) -> None:
    """Write one self-contained HTML page."""
    per_take = Counter((sample.take, sample.split) for sample in samples)
    takes = [[take, per_take[take, "train"], per_take[take, "test"]] for take in manifest.takes]
    parts = [
        f"<h1>Prepared set {html.escape(manifest.set_id)}</h1>",
        f"<p>{manifest.size_px} px crops of {len(manifest.takes)} takes of "
        f"{len(manifest.subjects)} subjects"
        + (" of the digital twin: synthetic heads, not people" if manifest.simulated else "")
        + f". Allowed uses: {', '.join(manifest.scopes) or 'none'}.</p>",
        "<h2>Parts</h2>" + _table(["part", "pairs"], [list(i) for i in manifest.counts.items()]),
        "<h2>Left out</h2>"
        + _table(["reason", "pairs"], [list(i) for i in sorted(manifest.rejected.items())]),
        "<h2>Takes</h2>" + _table(["take", "train", "test"], takes),
        "<h2>Kept pairs</h2>",
    ]
    for name, title in _HISTOGRAMS:
        values = [s.measures[name] for s in samples if s.measures.get(name) is not None]
        if values:
            parts.append(_histogram(title, values))
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(manifest.set_id)}"
        f"</title><style>{_STYLE}</style>{''.join(parts)}</html>"
    )

    def fill(aside: Path) -> None:
        aside.write_text(page, encoding="utf-8")

    write_aside(path, fill)


def _table(headers: list[str], rows: list[list[object]]) -> str:
    head = "".join(f"<th>{html.escape(text)}" for text in headers)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=n' if isinstance(cell, int) else ''}>{html.escape(str(cell))}"
            for cell in row
        )
        for row in rows
    )
    return f"<table><tr>{head}{body}</table>"


def _histogram(title: str, values: list[float]) -> str:
    counts, edges = np.histogram(values, bins=24)
    most = max(int(counts.max()), 1)
    bars = "".join(
        f'<rect class=bar x="{10 + 18 * i}" y="{110 - 95 * int(c) / most:.1f}" width=16 '
        f'height="{95 * int(c) / most:.1f}"><title>{edges[i]:.3g} to {edges[i + 1]:.3g}: {int(c)}'
        "</title></rect>"
        for i, c in enumerate(counts)
    )
    labels = (
        f"<text x=10 y=128 font-size=12>{edges[0]:.3g}</text>"
        f"<text x=442 y=128 font-size=12 text-anchor=end>{edges[-1]:.3g}</text>"
        f"<text x=10 y=12 font-size=12>most {most}, median {np.median(values):.3g}</text>"
    )
    return (
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<svg viewBox="0 0 450 132" role=img>{bars}{labels}</svg></figure>'
    )
