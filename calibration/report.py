"""One self-contained HTML page per run: verdict, figures, tables, pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from calibration.artifact import Artifact
from calibration.figure_words import mode_number, read

__all__ = ["render"]

_STYLE = """
:root{--ink:#1c2430;--soft:#5b6675;--line:#e3e7ec;--good:#0a6b3d;--bad:#a3160a}
body{font:15px/1.55 system-ui,sans-serif;max-width:66rem;margin:0 auto;padding:2rem 1.2rem 4rem;
color:var(--ink);background:#fff}
h1{font-size:1.6rem;margin:0 0 .2rem} h2{font-size:1.1rem;margin:2.4rem 0 .6rem}
.sub{color:var(--soft);margin:0 0 1.2rem}
.verdict{border-left:.4rem solid;border-radius:.3rem;padding:.7rem 1rem;margin:1rem 0;
background:#f4faf6}
.verdict.accepted{border-color:var(--good)} .verdict.rejected{border-color:var(--bad);
background:#fdf4f3}
.verdict b{text-transform:capitalize} .accepted b{color:var(--good)} .rejected b{color:var(--bad)}
.next{margin:.4rem 0 0}
.check{display:flex;gap:2.5rem;flex-wrap:wrap;margin:.6rem 0 0}
.check div{min-width:7rem} .check span{display:block;color:var(--soft);font-size:.85rem}
.check strong{font-size:1.35rem;font-variant-numeric:tabular-nums}
.columns{display:flex;flex-wrap:wrap;gap:0 2rem;align-items:flex-start}
table{border-collapse:collapse} tr{break-inside:avoid}
td,th{padding:.22rem .7rem .22rem 0;text-align:left;border-bottom:1px solid var(--line);
font-weight:400;vertical-align:top} th{color:var(--soft);white-space:nowrap}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.e{color:var(--soft);white-space:nowrap} td.u{color:var(--soft)}
figure{margin:.4rem 0 1rem} figcaption{color:var(--soft);font-size:.9rem}
img{max-width:100%;border:1px solid var(--line);border-radius:.3rem}
"""

_ONE_COLUMN = 14
"""Rows above which a table is set in two columns."""


def render(
    artifact: Artifact,
    pictures: Sequence[tuple[str, str, Callable[[Any], None]]],
    title: str = "",
) -> str:
    """Return the page of one artifact; pictures are embedded, nothing is loaded from outside.

    Args:
        artifact: The record.
        title: What was calibrated, as words; the procedure's name if empty.
        pictures: (title, caption, function that draws on a matplotlib figure).
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{_text(artifact.procedure)} {_text(artifact.id)}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{_text(title or artifact.procedure)}</h1>",
        f"<p class='sub'>calibration <b>{_text(artifact.procedure)}</b> · {_text(artifact.id)} · "
        f"{_text(_when(artifact.made_at))}</p>",
        _verdict(artifact),
        _held_out(artifact),
    ]
    if artifact.figures:
        parts += ["<h2>Figures</h2>", _figures(artifact)]
    for title, caption, draw in pictures:
        parts.append(
            f"<h2>{_text(title)}</h2><figure><img alt='{_text(title)}' src='{_png(draw)}'>"
            f"<figcaption>{_text(caption)}</figcaption></figure>"
        )
    if artifact.notes:
        parts.append("<h2>Notes</h2><ul>")
        parts.extend(f"<li>{_text(note)}</li>" for note in artifact.notes)
        parts.append("</ul>")
    made_with = ", ".join(f"{k} {v}" for k, v in artifact.inputs.items())
    parts += [
        "<h2>Made with</h2>",
        _table(
            [
                ("devices", ", ".join(f"{k} {v}" for k, v in artifact.serials.items())),
                ("calibrations", made_with or "none"),
                *_mirror(artifact),
                ("configuration", f"{artifact.config_hash} (hash of bench and devices)"),
                ("software", f"camera-rig {artifact.software}"),
            ]
        ),
    ]
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _verdict(artifact: Artifact) -> str:
    todo = ""
    if artifact.status == "accepted":
        why = ": it improved a measurement that the fit had not seen."
    else:
        why = f": {_text(artifact.reason)}"
    if artifact.advice:
        todo = f"<p class='next'>What to do next: {_text(artifact.advice)}.</p>"
    return (
        f"<div class='verdict {artifact.status}'><b>{_text(artifact.status)}</b>{why}{todo}</div>"
    )


def _held_out(artifact: Artifact) -> str:
    check = artifact.held_out
    if check is None:
        return ""
    cells = [("before", f"{check.before:.3g}"), ("after", f"{check.after:.3g}")]
    if check.limit is not None:
        cells.append(("must not exceed", f"{check.limit:.3g}"))
    shown = "".join(f"<div><span>{k}</span><strong>{v}</strong></div>" for k, v in cells)
    return (
        "<h2>Check on data the fit had not seen</h2>"
        f"<p class='sub'>{_text(check.metric)}</p><div class='check'>{shown}</div>"
    )


def _figures(artifact: Artifact) -> str:
    """Return the figures as tables: what was found, and beside it a shape's coefficients."""
    plain: list[str] = []
    shape: list[str] = []
    for name, value in artifact.figures.items():
        shown = read(name, value, artifact.uncertainty.get(name))
        error = f"± {shown.error}" if shown.error else ""
        row = (
            f"<tr><th title='{_text(name)}'>{_text(shown.words)}</th>"
            f"<td class='n'>{shown.value}</td>"
            f"<td class='e'>{error}</td><td class='u'>{shown.unit}</td></tr>"
        )
        (plain if mode_number(name) is None else shape).append(row)
    parts = [*_columns(plain), *([shape] if shape else [])]
    tables = "".join("<table>" + "".join(part) + "</table>" for part in parts)
    return f"<div class='columns'>{tables}</div>"


def _columns(rows: list[str]) -> list[list[str]]:
    if len(rows) <= _ONE_COLUMN:
        return [rows]
    half = (len(rows) + 1) // 2
    return [rows[:half], rows[half:]]


def _when(made_at: str) -> str:
    return f"{datetime.fromisoformat(made_at):%d %B %Y, %H:%M:%S} UTC"


def _mirror(artifact: Artifact) -> list[tuple[str, str]]:
    if artifact.mirror_c is None:
        return []
    return [("mirror's temperature", f"{artifact.mirror_c:.1f} °C")]


def _table(rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(f"<tr><th>{_text(k)}</th><td>{_text(v)}</td></tr>" for k, v in rows)
    return f"<table>{body}</table>"


def _png(draw: Callable[[Any], None]) -> str:
    # The object interface: no global state, no display, safe beside a user's own plots.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _text(value: str) -> str:
    return html.escape(str(value), quote=True)
