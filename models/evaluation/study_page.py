"""The study as one page that needs no network and sends nothing anywhere.

The order of questions and of faces follows from the study's token and the participant's
code, so it can be made again. Answers leave the page only as a file that the participant
saves.
"""

from __future__ import annotations

import json
from html import escape

from models.evaluation.study import ASKED, Study

__all__ = ["render"]

_STYLE = """
:root{color-scheme:light}
body{font:17px/1.5 system-ui,sans-serif;max-width:58rem;margin:0 auto;padding:1rem;color:#1d1d1f;
background:#fff} h1{font-size:1.5rem} h2{font-size:1.2rem;margin:.4rem 0 1rem}
h2:focus{outline:none}
.row{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}
figure{margin:0} figcaption{color:#555;font-size:.9rem}
img{width:15rem;height:15rem;object-fit:cover;border-radius:6px;background:#eee;display:block}
.choices{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.8rem;
margin-top:1rem} .choices img{width:100%;height:auto;aspect-ratio:1}
label.choice{border:2px solid #ccc;border-radius:8px;padding:.5rem;cursor:pointer;display:block}
label.choice:has(input:checked){border-color:#0b5394;background:#eef4fb}
label.choice:focus-within{outline:3px solid #7fb0e6}
.words{display:flex;flex-wrap:wrap;gap:.6rem;margin-top:1.2rem}
button{font:inherit;padding:.5rem 1.3rem;border:0;border-radius:6px;background:#0b5394;color:#fff;
cursor:pointer;margin-top:1.4rem} button:disabled{background:#9ab}
button.plain{background:#e6e6e6;color:#222;margin-left:.6rem}
progress{width:100%;height:.6rem} .small{color:#555;font-size:.9rem} [hidden]{display:none}
input[type=text]{font:inherit;padding:.4rem;border:1px solid #888;border-radius:4px}
"""

_SCRIPT = """
"use strict";
const study = JSON.parse(document.getElementById("study").textContent);
const $ = (id) => document.getElementById(id);
// FNV-1a of the text seeds mulberry32: small, and the same on every machine.
function seeded(text) {
  let state = 2166136261;
  for (const c of text) { state ^= c.codePointAt(0); state = Math.imul(state, 16777619); }
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
function shuffled(items, chance) {
  const out = items.slice();
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(chance() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}
let order = [], at = 0, shownAt = 0, result = null;
function begin() {
  const code = $("code").value.trim();
  const chance = seeded(study.study + "/" + code);
  // Searches come first: a sharp face seen beside its picture would help in finding it.
  const groups = [...new Set(study.questions.map((q) => q.scenario))];
  const searches = groups.filter((g) => g.startsWith("source"));
  const rest = groups.filter((g) => !g.startsWith("source"));
  order = [...shuffled(searches, chance), ...shuffled(rest, chance)].flatMap((g) =>
    shuffled(study.questions.filter((q) => q.scenario === g), chance).map((q) => {
      const places = q.options.map((_, i) => i);
      return { q, places: q.words.length ? places : shuffled(places, chance) };
    }));
  result = { study: study.study, participant: code, answers: [] };
  $("start").hidden = true; $("ask").hidden = false;
  show();
}
function figure(number, title) {
  const f = document.createElement("figure"), i = document.createElement("img");
  i.src = study.pictures[number]; i.alt = title;
  const c = document.createElement("figcaption"); c.textContent = title;
  f.append(i, c); return f;
}
function show() {
  const { q, places } = order[at];
  $("bar").max = order.length; $("bar").value = at;
  $("count").textContent = "Question " + (at + 1) + " of " + order.length;
  $("asked").textContent = study.asked[q.scenario];
  $("shown").replaceChildren(...q.shown.map((n, i) => figure(n, "Picture " + "AB"[i])));
  $("answers").className = q.words.length ? "words" : "choices";
  $("answers").replaceChildren(...places.map((place, rank) => {
    const label = document.createElement("label"), radio = document.createElement("input");
    label.className = "choice"; radio.type = "radio"; radio.name = "answer";
    radio.value = q.options[place];
    radio.onchange = () => { $("next").disabled = false; };
    if (q.words.length) label.append(radio, " " + q.words[place]);
    else label.append(figure(q.pictures[place], "Face " + (rank + 1)), radio);
    return label;
  }));
  $("next").disabled = true;
  $("asked").focus();
  shownAt = performance.now();
}
function answer(option) {
  const { q } = order[at];
  const seconds = Math.round((performance.now() - shownAt) / 100) / 10;
  result.answers.push({ question: q.id, option, seconds });
  at += 1;
  if (at < order.length) { show(); return; }
  $("ask").hidden = true; $("end").hidden = false;
  const file = new Blob([JSON.stringify(result, null, 1)], { type: "application/json" });
  $("save").href = URL.createObjectURL(file);
  $("save").download = "result-" + study.study + "-" +
    result.participant.replace(/[^A-Za-z0-9_-]/g, "_") + ".json";
}
function ready() { $("begin").disabled = !($("agree").checked && $("code").value.trim()); }
$("agree").onchange = ready; $("code").oninput = ready;
$("begin").onclick = begin;
$("next").onclick = () =>
  answer(document.querySelector("input[name=answer]:checked").value);
$("pass").onclick = () => answer("");
"""


def render(study: Study) -> str:
    """Return the page: pictures, questions and script in one file, no answers."""
    plan = study.key.plan
    data = {
        "study": study.key.study,
        "asked": {str(scenario): words for scenario, words in ASKED.items()},
        "questions": [question.model_dump(mode="json") for question in study.questions],
        "pictures": list(study.pictures),
    }
    # "</" would end the script element early.
    content = json.dumps(data).replace("</", "<\\/")
    ask = f" Questions about this study: {escape(plan.contact)}." if plan.contact else ""
    # Nothing may be loaded or sent; scripts and styles are those of this file.
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(plan.title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<style>{_STYLE}</style></head><body>
<section id="start"><h1>{escape(plan.title)}</h1>
<p>You will see pictures of faces ({escape(study.key.people)}) and answer
{len(study.questions)} short questions. There is no time limit. You can pass over any question and
stop at any time by closing this page.</p>
<p>Nothing is sent from this page. At the end you save a file with your answers, the time each one
took, and the code you were given; it holds no name.{ask}</p>
<p><label>Your code: <input type="text" id="code" autocomplete="off" maxlength="40"></label></p>
<p><label><input type="checkbox" id="agree"> I have read this and take part of my own
will.</label></p>
<button id="begin" disabled>Begin</button></section>
<section id="ask" hidden><progress id="bar" value="0"></progress><p class="small" id="count"></p>
<h2 id="asked" tabindex="-1"></h2><div class="row" id="shown"></div><div id="answers"></div>
<button id="next" disabled>Next</button><button id="pass" class="plain">Pass over</button></section>
<section id="end" hidden><h1>Thank you</h1><p>Save the file with your answers and give it to whoever
invited you.</p><p><a id="save">Save my answers</a></p></section>
<script type="application/json" id="study">{content}</script>
<script>{_SCRIPT}</script></body></html>
"""
