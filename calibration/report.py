"""One self-contained HTML page per run: verdict, figures, tables, pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

from calibration.artifact import Artifact

__all__ = ["render"]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem;margin-bottom:.2rem} h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse} td,th{padding:.2rem .8rem .2rem 0;text-align:left;
border-bottom:1px solid #ddd} td.n{text-align:right;font-variant-numeric:tabular-nums}
.accepted{color:#0a6b3d} .rejected{color:#a3160a} figure{margin:1rem 0}
figcaption{color:#555;font-size:.9rem} img{max-width:100%} small{color:#666}
"""


def render(artifact: Artifact, pictures: Sequence[tuple[str, str, Callable[[Any], None]]]) -> str:
    """Return the page of one artifact; pictures are embedded, nothing is loaded from outside.

    Args:
        artifact: The record.
        pictures: (title, caption, function that draws on a matplotlib figure).
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{_text(artifact.procedure)} {_text(artifact.id)}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>Calibration: {_text(artifact.procedure)}</h1>",
        f"<p class='{artifact.status}'><b>{artifact.status}</b>"
        + (f": {_text(artifact.reason)}" if artifact.reason else "")
        + "</p>",
        _table(
            [
                ("id", artifact.id),
                ("made", artifact.made_at),
                ("software", artifact.software),
                ("devices", ", ".join(f"{k} {v}" for k, v in artifact.serials.items())),
                ("made with", ", ".join(f"{k} {v}" for k, v in artifact.inputs.items()) or "–"),
                ("mirror", "–" if artifact.mirror_c is None else f"{artifact.mirror_c:.1f} °C"),
            ]
        ),
        _held_out(artifact),
        "<h2>Figures</h2>",
        _figures(artifact),
    ]
    for title, caption, draw in pictures:
        parts.append(
            f"<h2>{_text(title)}</h2><figure><img alt='{_text(title)}' src='{_png(draw)}'>"
            f"<figcaption>{_text(caption)}</figcaption></figure>"
        )
    if artifact.notes:
        parts.append("<h2>Notes</h2><ul>")
        parts.extend(f"<li>{_text(note)}</li>" for note in artifact.notes)
        parts.append("</ul>")
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _held_out(artifact: Artifact) -> str:
    check = artifact.held_out
    if check is None:
        return ""
    limit = "" if check.limit is None else f", limit {check.limit:.4g}"
    return (
        f"<p>Check on data the fit had not seen: {_text(check.metric)}: "
        f"<b>{check.before:.4g}</b> before, <b>{check.after:.4g}</b> after{limit}.</p>"
    )


def _figures(artifact: Artifact) -> str:
    rows = []
    for name, value in artifact.figures.items():
        sigma = artifact.uncertainty.get(name)
        error = "" if sigma is None else f"± {sigma:.2g}"
        rows.append(
            f"<tr><td>{_text(name)}</td><td class='n'>{value:.6g}</td><td>{error}</td></tr>"
        )
    return "<table>" + "".join(rows) + "</table>"


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
