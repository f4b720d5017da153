// The panels beside the picture: mirror and take; and the keys.

import { $, ask, digits, facts, make, page, picture, sentence, tell, toast } from "/tools.js";

const HOLD_MS = 900, PLAN_AFTER_MS = 90;
const mirror = { panel: null, plan: null, asked: 0 };

// ---------------------------------------------------------------- tabs

const tabs = [...document.querySelectorAll('[role="tab"]')];
function openTab(name, focus = false) {
  for (const tab of tabs) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
}
for (const tab of tabs) {
  tab.onclick = () => openTab(tab.id.slice(4));
  tab.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) openTab(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length].id.slice(4), true);
  };
}

// ---------------------------------------------------------------- mirror

export async function loadMirror() {
  const able = page.state.panel !== null;
  $("mirror-absent").hidden = able;
  $("mirror-tools").hidden = !able;
  if (!able) return;
  mirror.panel = await ask("GET", "/api/mirror");
  $("sliders").replaceChildren(...mirror.panel.modes.map(slider));
  const { measured } = mirror.panel;
  $("psf-measured").hidden = !measured;
  $("psf-none").hidden = Boolean(measured);
  if (measured) {
    picture($("psf-measured"), measured.png, "image/png");
    $("psf-measured").title = `mirror at rest, ${measured.made_at.slice(0, 16).replace("T", " ")} UTC`;
    $("psf-measured-note").textContent = `at rest`;
  }
  showPlan(mirror.panel);
}

function slider(mode) {
  const row = make("div", "slider"), label = make("label", "", mode.name), track = make("div", "rail");
  const input = make("input"), value = make("output"), mark = make("span", "learned");
  const step = 0.005, down = Math.ceil(mode.low_um / step) * step, up = Math.floor(mode.high_um / step) * step;
  Object.assign(input, { type: "range", id: `mode-${mode.noll}`, min: down.toFixed(3), max: up.toFixed(3), step });
  input.value = mode.learned_um.toFixed(3);
  label.htmlFor = input.id;
  label.title = `${mode.name}: Noll ${mode.noll}, Thorlabs Z${mode.thorlabs}, ${digits(mode.low_um, 2)} to ${digits(mode.high_um, 2)} µm RMS`;
  value.htmlFor = input.id;
  value.ariaLive = "off"; // the slider says it already
  value.ariaLabel = `${mode.name}, µm`;
  // The thumb's middle runs from 9 px to 9 px before the end.
  const share = (mode.learned_um - mode.low_um) / (mode.high_um - mode.low_um);
  mark.style.left = `calc(9px + ${share} * (100% - 18px))`;
  mark.title = "learned";
  input.oninput = () => { told(mode, input, value, row); planSoon(); };
  told(mode, input, value, row);
  track.append(input, mark);
  row.append(label, track, value);
  row.dataset.noll = mode.noll;
  return row;
}

function told(mode, input, value, row) {
  const now = Number(input.value);
  value.textContent = now.toFixed(2);
  input.setAttribute("aria-valuetext", `${now.toFixed(2)} micrometres`);
  row.classList.toggle("changed", Math.abs(now - mode.learned_um) > 0.003);
}

const input = (noll) => $(`mode-${noll}`);
function values() {
  // An untouched slider stands for the learned value itself, not for the step nearest to it.
  return Object.fromEntries(mirror.panel.modes.map(({ noll, learned_um }) => {
    const now = Number(input(noll).value);
    return [noll, Math.abs(now - learned_um) <= 0.003 ? learned_um : now];
  }));
}
function setSliders(wanted) {
  for (const mode of mirror.panel.modes) {
    const field = input(mode.noll), row = field.closest(".slider");
    field.value = (wanted[mode.noll] ?? 0).toFixed(3);
    told(mode, field, row.querySelector("output"), row);
  }
}

let planTimer = 0;
function planSoon() {
  mirror.plan = null;
  sayPlan();
  clearTimeout(planTimer);
  planTimer = setTimeout(() => tell(planNow()), PLAN_AFTER_MS);
}
async function planNow() {
  const number = (mirror.asked += 1);
  const plan = await ask("POST", "/api/mirror/plan", { values_um: values() });
  if (number === mirror.asked) showPlan(plan);
}

function showPlan(plan) {
  mirror.plan = plan;
  for (const row of document.querySelectorAll(".slider")) row.classList.toggle("excess", Boolean(plan.excess_um[row.dataset.noll]));
  picture($("psf-predicted"), plan.psf.png, "image/png");
  $("psf-predicted-note").textContent = `${digits(plan.psf.width_um)} µm wide`;
  sayPlan();
}

function sayPlan() {
  const { plan } = mirror, box = $("plan"), locked = page.state.panel?.why_not || "";
  box.dataset.is = plan && !plan.feasible ? "bad" : "";
  if (locked) box.textContent = sentence(`${locked}: the mirror stays as it is`);
  else if (!plan) box.textContent = "…";
  else if (plan.feasible) box.textContent = `Within reach: ${digits(100 * plan.stroke_used)} % of the stroke.`;
  else box.textContent = sentence(plan.why_not);
  $("scale").hidden = !plan || plan.feasible;
  if (plan && !plan.feasible) $("scale").textContent = `Scale to fit (× ${digits(plan.scale_that_fits, 2)})`;
  $("apply").disabled = !plan || !plan.feasible || Boolean(locked) || page.state.panel?.moving;
}

$("scale").onclick = () => {
  // A hair less, so that rounding to a slider's step stays inside.
  const factor = 0.995 * mirror.plan.scale_that_fits, now = values();
  setSliders(Object.fromEntries(Object.entries(now).map(([noll, value]) => [noll, factor * value])));
  planSoon();
};

async function apply() {
  $("apply").disabled = true;
  try { await ask("POST", "/api/mirror/apply", { values_um: values() }); } finally { sayPlan(); }
}
export async function restore() {
  await ask("POST", "/api/mirror/learned");
  setSliders(Object.fromEntries(mirror.panel.modes.map(({ noll, learned_um }) => [noll, learned_um])));
  planSoon();
}
$("restore").onclick = $("restore-banner").onclick = () => tell(restore());

// Held, not clicked: by pointer, or by Enter or Space.
let holding = 0;
function hold(event) {
  if (holding || $("apply").disabled) return;
  if (event.type === "keydown" && (event.repeat || ![" ", "Enter"].includes(event.key))) return;
  event.preventDefault();
  $("apply").focus();
  $("apply").classList.add("holding");
  holding = setTimeout(() => { release(); tell(apply()); }, HOLD_MS);
}
function release() {
  clearTimeout(holding);
  holding = 0;
  $("apply").classList.remove("holding");
}
for (const name of ["pointerdown", "keydown"]) $("apply").addEventListener(name, hold);
for (const name of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) $("apply").addEventListener(name, release);

export function showMoved(panel) {
  $("moved").hidden = !panel?.applied_um;
  if (!panel || !mirror.panel) return;
  for (const field of document.querySelectorAll("#sliders input")) field.disabled = Boolean(panel.why_not);
  $("restore").disabled = $("restore-banner").disabled = Boolean(panel.why_not) || panel.moving;
  sayPlan();
}

// ---------------------------------------------------------------- takes

export function showTake(take) {
  $("take-absent").hidden = take !== null;
  $("take-tools").hidden = take === null;
  const running = take !== null && take.phase !== "idle";
  document.body.classList.toggle("recording", running);
  if (take === null) return;
  const { consent } = take;
  const pairs = consent
    ? [["subject", take.subject], ["form", `${consent.form_id}, version ${consent.form_version}`], ["agreed to", consent.scopes.join(", ") || "nothing further"], ["kept until", consent.retention_until], ["taken by", consent.operator], ["record", consent.record]]
    : [["subject", take.subject], ["consent", "none needed: simulated, the pictures show nobody"]];
  facts($("consent"), pairs);
  $("agreed-text").textContent = consent ? `It is ${take.subject} who stands before the cameras, and this is what they agreed to.` : "I know that this records the simulated person.";
  const button = $("record");
  button.classList.toggle("running", running);
  button.firstChild.textContent = running ? "Stop" : "Record";
  button.disabled = !running && !$("agreed").checked;
  button.dataset.agreed = take.agreed;
  $("agreed").disabled = $("prompt").disabled = running;
  const share = running && take.elapsed_s ? Math.min(100, (100 * take.elapsed_s) / take.duration_s) : 0;
  $("take-bar").style.width = `${share}%`;
  $("take-bar").parentElement.setAttribute("aria-valuenow", String(Math.round(share)));
  $("take-now").dataset.is = "";
  if (running && take.pairs !== undefined) $("take-now").textContent = `${sentence(take.phase)}: ${digits(take.elapsed_s)} of ${digits(take.duration_s)} s, ${take.pairs} pairs, ${take.dropped} dropped`;
  else if (running) $("take-now").textContent = `${sentence(take.phase)} …`;
  else if (take.last) {
    $("take-now").textContent = take.last.take ? `${take.last.take}: ${take.last.pairs ?? 0} pairs in ${digits(take.last.seconds, 1)} s, ${take.last.dropped ?? 0} dropped, ${take.last.reason}` : sentence(take.last.reason);
    $("take-now").dataset.is = take.last.clean ? "" : "bad";
  }
}
$("agreed").onchange = () => showTake(page.state.take);
$("record").onclick = () => {
  if (page.state.take.phase !== "idle") return tell(ask("POST", "/api/take/stop"));
  const body = { agreed: $("record").dataset.agreed, prompt: $("prompt").value };
  // Agreed for one take: the next person may be another one.
  $("agreed").checked = false;
  return tell(ask("POST", "/api/take/start", body));
};

// ---------------------------------------------------------------- keys

function toggleFull() {
  const full = document.body.classList.toggle("full");
  $("toggle-full").setAttribute("aria-pressed", String(full));
  if (full) document.documentElement.requestFullscreen?.().catch(() => toast(new Error("The browser keeps its frame; the picture is as large as it goes")));
  else if (document.fullscreenElement) document.exitFullscreen();
}
$("toggle-full").onclick = toggleFull;
document.addEventListener("fullscreenchange", () => {
  if (!document.fullscreenElement && document.body.classList.contains("full")) toggleFull();
});
$("show-help").onclick = () => $("help").showModal();

const KEYS = {
  p: () => $("toggle-privacy").click(), f: toggleFull, "?": () => $("help").showModal(),
  d: () => openTab("figures", true), m: () => openTab("mirror", true), t: () => openTab("take", true),
  l: () => { if (page.state?.panel) $("restore").click(); },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.matches('input[type="text"], input[type="password"]')) return;
  const key = event.key.toLowerCase();
  if (KEYS[key]) KEYS[key]();
  else if (/^[1-9]$/.test(key)) document.querySelectorAll(".reference")[Number(key) - 1]?.click();
});
