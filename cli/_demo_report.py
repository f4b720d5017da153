"""The demo's report: one self-contained page, readable without a network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.demo import Outcome, Step

_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>camera-rig: a walk along the simulated rig</title>
<style>
:root { color-scheme: dark; --ink: #e8e6e1; --dim: #9a978f; --paper: #16181b; --card: #1f2226;
        --line: #33373d; --good: #7fc98b; --bad: #ef8a80; }
body { margin: 0; background: var(--paper); color: var(--ink);
       font: 17px/1.6 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.5rem 6rem; }
h1 { font-size: 2.2rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; margin: 0; }
p { margin: .5rem 0; } .dim { color: var(--dim); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
          padding: 1.4rem 1.6rem; margin-top: 1.4rem; }
header.step { display: flex; gap: 1rem; align-items: baseline; justify-content: space-between; }
.good { color: var(--good); } .bad { color: var(--bad); }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
.command { display: block; background: #0f1113; border-radius: 8px; padding: .6rem .9rem;
           overflow-x: auto; }
.command::before { content: "$ "; color: var(--dim); }
details { margin-top: .7rem; } summary { cursor: pointer; color: var(--dim); }
pre { background: #0f1113; border-radius: 8px; padding: .9rem; overflow-x: auto; }
figure { margin: 1rem 0 0; } img { max-width: 100%; border-radius: 8px; background: #fff; }
figcaption { color: var(--dim); font-size: .92rem; }
</style></head><body><main>
<h1>A walk along the simulated rig</h1>
<p class="dim">Every step is a command you can type. No hardware was used: a digital twin that obeys
the same physics stood in for mirror, cameras, stage and light. The person in the pictures does not
exist.</p>
{% for step, outcome, pictures in stops %}
<section>
<header class="step"><h2>{{ loop.index }}. {{ step.title }}</h2>
{% if outcome is none %}<span class="dim">not reached</span>
{% elif outcome.code == 0 %}
<span class="good">done in {{ "%.0f" | format(outcome.seconds) }} s</span>
{% else %}<span class="bad">failed with code {{ outcome.code }}</span>{% endif %}</header>
<p>{{ step.why }}</p>
<code class="command">rig {{ step.words | join(" ") }}</code>
{% for source, caption in pictures %}
<figure><img src="{{ source }}" alt="{{ caption }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
{% if outcome is not none and outcome.output.strip() %}
<details{% if not pictures %} open{% endif %}><summary>What it said</summary>
<pre>{{ outcome.output }}</pre></details>
{% endif %}
</section>
{% endfor %}
</main></body></html>
"""


def write_report(out: Path, steps: Sequence[Step], outcomes: Sequence[Outcome]) -> Path:
    """Write ``report.html`` into the demo folder and return its path."""
    from jinja2 import Environment

    by_name = {outcome.name: outcome for outcome in outcomes}
    stops = [
        (
            step,
            by_name.get(step.name),
            [(_inline(out / file), caption) for file, caption in step.pictures
             if (out / file).exists()],
        )
        for step in steps
    ]  # fmt: skip
    page = Environment(autoescape=True).from_string(_PAGE).render(stops=stops)
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _inline(path: Path) -> str:
    kind = {".png": "png", ".jpg": "jpeg"}[path.suffix]
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
