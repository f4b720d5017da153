"""Charts as inline SVG: no library, no outside asset, colours from the page's own theme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 340.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 10.0, 36.0


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        name: For the legend.
        colour: Number of its colour in the theme.
        x: Values.
        y: Values.
    """

    name: str
    colour: int
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """From values to places: linear, or logarithmic.

    Args:
        low: Value at the origin.
        high: Value at the far end.
        title: What it is.
        ticks: Values that are told.
        log: Logarithmic.
    """

    low: float
    high: float
    title: str
    ticks: Sequence[float]
    log: bool = False

    def share(self, value: float) -> float:
        """Return the place of a value, 0 … 1."""
        if self.log:
            value, low, high = (math.log10(max(v, self.low)) for v in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        return min(max((value - low) / (high - low), 0.0), 1.0)


def roc_chart(lines: Sequence[Line], title: str) -> str:
    """Return ROC curves over a logarithmic false-positive axis."""
    x = Axis(1e-3, 1.0, "false positives", (1e-3, 1e-2, 1e-1, 1.0), log=True)
    y = Axis(0.0, 1.0, "true positives", (0.0, 0.25, 0.5, 0.75, 1.0))
    chance = [10 ** (-3.0 + i / 20.0) for i in range(61)]
    marks = [_path(x, y, chance, chance, "chance")]
    marks += [_path(x, y, line.x, line.y, f"line c{line.colour}", line.name) for line in lines]
    return _frame(title, x, y, marks)


def histogram_chart(edges: Sequence[float], series: Sequence[Line], title: str) -> str:
    """Return histograms over one axis as filled steps; heights are shares of each series."""
    top = max((max(s.y) for s in series), default=1.0) or 1.0
    x = Axis(edges[0], edges[-1], "distance", _nice_ticks(edges[-1]))
    y = Axis(0.0, top * 1.05, "share", _nice_ticks(top))
    marks = []
    for one in series:
        corners: list[tuple[float, float]] = [(edges[0], 0.0)]
        for left, right, height in zip(edges[:-1], edges[1:], one.y, strict=True):
            corners += [(left, height), (right, height)]
        corners.append((edges[-1], 0.0))
        xs, ys = [c[0] for c in corners], [c[1] for c in corners]
        marks.append(_path(x, y, xs, ys, f"area c{one.colour}", one.name))
    return _frame(title, x, y, marks)


def group_chart(
    groups: Mapping[str, Mapping[str, tuple[float, int]]], whole: float, text: Mapping[str, str]
) -> str:
    """Return one row per group: a dot at its figure, a line at the whole set's.

    Args:
        groups: Attribute to group to (figure, people).
        whole: The figure of everybody.
        text: Group to the figure as it is told.
    """
    rows = [
        (attribute, name, *pair)
        for attribute, values in groups.items()
        for name, pair in values.items()
        if math.isfinite(pair[0])
    ]
    if not rows:
        return ""
    values = [row[2] for row in rows] + [whole]
    low, high = min(values), max(values)
    pad = max(0.15 * (high - low), 1e-3 + 0.02 * abs(high))
    axis = Axis(low - pad, high + pad, "", ())
    left, right, step = 118.0, 52.0, 19.0
    height = step * (len(rows) + 0.5)
    span = _WIDTH - left - right

    def place(value: float) -> float:
        return left + span * axis.share(value)

    marks = [f'<line class="whole" x1="{place(whole):.1f}" x2="{place(whole):.1f}" y1="2" '
             f'y2="{height - 4:.1f}"/>']  # fmt: skip
    before = ""
    for number, (attribute, name, value, people) in enumerate(rows):
        y = step * (number + 0.75)
        if attribute != before and number:
            marks.append(f'<line class="rule" x1="0" x2="{_WIDTH}" y1="{y - 13:.1f}" '
                         f'y2="{y - 13:.1f}"/>')  # fmt: skip
        before = attribute
        marks.append(
            f'<text class="group" x="{left - 10}" y="{y + 4:.1f}">{escape(name)} '
            f'<tspan class="faint">({people})</tspan></text>'
            f'<line class="grid" x1="{left}" x2="{_WIDTH - right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle class="dot" cx="{place(value):.1f}" cy="{y:.1f}" r="4.5"/>'
            f'<text class="told" x="{_WIDTH - right + 8}" y="{y + 4:.1f}">'
            f"{escape(text[name])}</text>"
        )
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {_WIDTH:.0f} {height:.0f}">'
        f"{''.join(marks)}</svg>"
    )


def _frame(title: str, x: Axis, y: Axis, marks: Sequence[str]) -> str:
    parts = [f'<svg class="chart" role="img" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}">',
             f"<title>{escape(title)}</title>"]  # fmt: skip
    bottom = _HEIGHT - _BOTTOM
    for tick in x.ticks:
        at = _x(x, tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>'
                     f'<text class="tick mid" x="{at:.1f}" y="{bottom + 14}">{_told(tick)}'
                     "</text>")  # fmt: skip
    for tick in y.ticks:
        at = _y(y, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" '
                     f'y2="{at:.1f}"/><text class="tick end" x="{_LEFT - 6}" y="{at + 3.5:.1f}">'
                     f"{_told(tick)}</text>")  # fmt: skip
    middle = 0.5 * (_LEFT + _WIDTH - _RIGHT)
    parts += marks
    parts.append(
        f'<text class="tick mid" x="{middle:.1f}" y="{_HEIGHT - 6}">{x.title}</text></svg>'
    )
    return "".join(parts)


def _path(
    x: Axis, y: Axis, xs: Sequence[float], ys: Sequence[float], style: str, name: str = ""
) -> str:
    points = " ".join(f"{_x(x, a):.1f},{_y(y, b):.1f}" for a, b in zip(xs, ys, strict=True))
    told = f"<title>{escape(name)}</title>" if name else ""
    return f'<polyline class="{style}" points="{points}">{told}</polyline>'


def _x(axis: Axis, value: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * axis.share(value)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * axis.share(value)


def _nice_ticks(top: float) -> list[float]:
    """Return round numbers from 0, four or so."""
    rough = top / 4.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1.0, 2.0, 2.5, 5.0, 10.0) if power * f >= rough)
    return [step * i for i in range(int(top / step) + 1)]


def _told(value: float) -> str:
    return f"{value:.3g}"
