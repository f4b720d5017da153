// The preview's page: pictures over one WebSocket, figures beside them, three panels.
// Nothing here keeps a frame: a picture is decoded, painted, and forgotten.

import { $, ask, digits, facts, make, page, picture, sentence, tell } from "/tools.js";
import { loadMirror, showMoved, showTake } from "/panels.js";

const VIEWS = ["face", "privacy", "side"]; // by their numbers on the wire
const NAMES = { face: "De-identified", privacy: "What the privacy camera sees", side: "Side camera: calibration targets only" };
const WORDS = { starting: "Starting", stopped: "Stopped", mirror: "Mirror not confirmed", optics: "Other optics", calibration: "Calibration stale", camera: "No camera picture", failed: "A stage failed", late: "Too late to show", "no face": "No face", sharp: "Too sharp to show", unsure: "Not sure enough", card: "Nothing to show" };
const STALE_MS = 2500, SPARK = 120;
const REFUSALS = [401, 403, 421]; // what asking again does not change

// ---------------------------------------------------------------- coming in

async function enter(token) {
  if (token) {
    try {
      await ask("POST", "/api/session", undefined, { Authorization: `Bearer ${token}` });
    } catch (error) {
      return REFUSALS.includes(error.status) ? refuse(error) : gone();
    }
  }
  try {
    show(await ask("GET", "/api/state"));
  } catch (error) {
    return REFUSALS.includes(error.status) ? refuse(error) : gone();
  }
  tell(loadReferences());
  tell(loadMirror());
  document.body.dataset.link = "connecting";
  if (new URLSearchParams(location.search).get("transport") === "mjpeg") useMjpeg();
  else connect();
}

function refuse(error) {
  document.body.dataset.link = "refused";
  wipe();
  if (error.status === 401) {
    cover("This page needs its link", "The token is missing or wrong. Open the link that rig preview printed, or paste the token here.", "Not let in");
    $("login").hidden = false;
  } else cover("Not let in", `${error.message}. ${error.hint || ""}`, "Not let in");
}

function gone(why) {
  if (document.body.dataset.link === "refused") return;
  document.body.dataset.link = "gone";
  wipe();
  cover("No connection", why || "The preview has ended, or this machine does not reach it. Trying again by itself.", "No connection");
  verdict("gone", "No connection");
  page.tries += 1;
  clearTimeout(page.retry);
  page.retry = setTimeout(() => enter(), Math.min(4000, 400 * page.tries));
}

function cover(title, text, said) {
  $("cover-title").textContent = title;
  $("cover-text").textContent = text;
  $("cover").hidden = false;
  if (said) verdict("gone", said);
}

// Said with each picture, so that the word and the picture never disagree.
function judge(why) {
  if (page.state?.live.targets) verdict("card", "Calibration targets");
  else if (why) verdict("card", WORDS[why] || sentence(why));
  else verdict("shown", "De-identified");
}

function verdict(is, text) {
  const box = $("verdict");
  if (box.textContent !== text) box.textContent = text;
  box.dataset.is = is;
}

// ---------------------------------------------------------------- pictures

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`);
  socket.binaryType = "arraybuffer";
  page.socket = socket;
  let opened = false;
  socket.onopen = () => { opened = true; page.transport = "WebSocket"; $("transport").textContent = "WebSocket, one picture in flight"; watch(); };
  socket.onmessage = (message) => {
    if (typeof message.data !== "string") return paintAll(message.data, socket);
    page.tries = 0;
    document.body.dataset.link = "live";
    show(JSON.parse(message.data));
  };
  socket.onclose = (event) => {
    if (page.socket !== socket) return;
    page.socket = null;
    if (event.code === 4003) return gone(`${event.reason}. Trying again by itself.`);
    if (!opened && page.tries >= 2) return fallBack();
    gone();
  };
}

// Some proxies let no WebSocket pass. Then pictures come as MJPEG, and the page says so.
async function fallBack() {
  try { await ask("GET", "/api/state"); } catch { return gone(); }
  useMjpeg();
}

function useMjpeg() {
  page.transport = "MJPEG";
  $("transport").textContent = "MJPEG (a WebSocket could not be had, or was not wanted)";
  const img = $("mjpeg");
  img.src = `/stream?view=${page.views[0]}`;
  img.hidden = false;
  $("canvas-large").hidden = true;
  img.onload = () => { page.paintedAt = performance.now(); };
  const poll = async () => {
    try {
      show(await ask("GET", "/api/state"));
      document.body.dataset.link = "live";
      page.paintedAt = performance.now();
      setTimeout(poll, 1000);
    } catch (error) { img.removeAttribute("src"); if (REFUSALS.includes(error.status)) refuse(error); else gone(); }
  };
  poll();
}

function watch() {
  if (!page.socket || page.socket.readyState !== WebSocket.OPEN) return;
  const views = document.hidden ? [] : page.beside ? page.views : page.views.slice(0, 1);
  page.paintedAt = performance.now();
  page.socket.send(JSON.stringify({ type: "watch", views }));
}

async function paintAll(data, socket) {
  const head = new DataView(data);
  const number = head.getUint32(4, true), count = head.getUint8(12), told = head.getUint8(13);
  const why = new TextDecoder().decode(new Uint8Array(data, 14 + 5 * count, told));
  let at = 14 + 5 * count + told, painted = {};
  for (let part = 0; part < count; part += 1) {
    const view = VIEWS[head.getUint8(14 + 5 * part)], length = head.getUint32(15 + 5 * part, true);
    painted[view] = createImageBitmap(new Blob([new Uint8Array(data, at, length)], { type: "image/jpeg" }));
    at += length;
  }
  try {
    for (const view of Object.keys(painted)) painted[view] = await painted[view];
  } catch { return gone("A picture could not be read."); }
  await nextFrame();
  if (page.socket !== socket) return;
  const [large, beside] = page.views;
  if (painted[large]) paint($("canvas-large"), painted[large]);
  if (painted[beside]) paint($("canvas-beside"), painted[beside]); else clear($("canvas-beside"));
  $("beside-empty").hidden = Boolean(painted[beside]);
  judge(why);
  page.painted += 1;
  page.paintedAt = performance.now();
  $("cover").hidden = true;
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "ack", number }));
}

// Hidden pages get no animation frames; they must answer all the same.
const nextFrame = () => new Promise((done) => { requestAnimationFrame(done); setTimeout(done, 250); });

function paint(canvas, bitmap) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.parentElement.style.setProperty("--aspect", `${bitmap.width} / ${bitmap.height}`);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  canvas.dataset.painted = String(Number(canvas.dataset.painted || 0) + 1);
  bitmap.close();
}
const clear = (canvas) => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
function wipe() { clear($("canvas-large")); clear($("canvas-beside")); $("mjpeg").removeAttribute("src"); }

// A picture that stands still must not look like one that lives.
setInterval(() => {
  if (document.body.dataset.link !== "live" || document.hidden) return;
  const age = performance.now() - page.paintedAt;
  if (age > STALE_MS) { wipe(); cover("No picture", `For ${Math.round(age / 1000)} s nothing has come.`, "No picture"); }
}, 500);

// ---------------------------------------------------------------- figures

function show(state) {
  page.state = state;
  page.views = state.views;
  const { live, viewers, panel, take } = state;
  if (performance.now() - page.paintedAt < STALE_MS) { $("cover").hidden = true; $("login").hidden = true; }
  $("caption-large").textContent = NAMES[page.views[0]];
  $("caption-beside").textContent = NAMES[page.views[1]] || "";
  $("verdict").title = live.reason || "";
  if (page.transport === "MJPEG") judge(live.showing ? "" : "card");
  if (!live.targets) showFigures(live, viewers);
  showMoved(panel);
  showTake(take);
}


function showFigures(live, viewers) {
  const now = performance.now(), span = (now - (page.countedAt || now)) / 1000;
  const rate = span > 0.2 ? (page.painted - page.counted) / span : undefined;
  [page.countedAt, page.counted] = [now, page.painted];
  if (rate !== undefined) page.rate = page.rate === undefined ? rate : 0.6 * page.rate + 0.4 * rate;
  const { stages, camera, mirror } = live;
  const sent = stages.captured_to_sent;
  const latency = viewers.painted_p50_ms ?? sent?.p50_ms;
  tile("latency", digits(latency), sent ? `sent ${digits(sent.p50_ms)}, p95 ${digits(sent.p95_ms)}` : "capture to painted", latency);
  const rateShown = page.transport === "MJPEG" ? live.fps : page.rate;
  tile("rate", digits(rateShown), `here; camera ${digits(camera.fps, 1)}`, rateShown);
  const lost = camera.lost - (page.lostBefore ?? camera.lost);
  page.lostBefore = camera.lost;
  tile("drops", String(camera.lost), `${camera.skipped} overtaken`, lost, lost > 0);
  const heat = Math.max(...Object.values(mirror.temperatures_c));
  const stands = mirror.confirmed ? "private shape stands" : mirror.reasons[0] || "not confirmed";
  tile("heat", Number.isFinite(heat) ? digits(heat, 1) : "–", stands, Number.isFinite(heat) ? heat : undefined, !mirror.confirmed);
  showBars(stages);
  facts($("facts"), [["engine", live.engine || "choosing"], ["bundle", live.bundle], ["style", live.reference], ["shape", mirror.shape || "–"], ["faces · cards", `${live.faces} · ${Object.values(live.blanks).reduce((a, b) => a + b, 0)}`], ["viewers", `${viewers.now} of ${viewers.most}${viewers.dropped ? `, ${viewers.dropped} too slow` : ""}`]]);
  for (const each of document.querySelectorAll(".reference")) { const chosen = each.dataset.name === live.reference; each.setAttribute("aria-checked", String(chosen)); each.tabIndex = chosen ? 0 : -1; }
}

function tile(name, text, note, value, bad = false) {
  const box = $(`tile-${name}`);
  $(name).textContent = text;
  $(`${name}-note`).textContent = note;
  box.dataset.is = bad ? "bad" : "";
  const series = (page.series[name] ||= []);
  if (value !== undefined && value !== null) series.push(value);
  if (series.length > SPARK) series.shift();
  spark(box, series);
}

function spark(box, series) {
  const SVG = "http://www.w3.org/2000/svg";
  let svg = box.querySelector("svg");
  if (!svg) {
    svg = document.createElementNS(SVG, "svg");
    for (const [key, value] of [["viewBox", "0 0 120 30"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) svg.setAttribute(key, value);
    svg.append(document.createElementNS(SVG, "polyline"));
    box.append(svg);
  }
  const low = Math.min(...series), size = Math.max(Math.max(...series) - low, Math.abs(low) * 0.05, 0.5);
  svg.firstChild.setAttribute("points", series.map((value, i) => `${120 - (series.length - 1 - i)},${(28 - (26 * (value - low)) / size).toFixed(1)}`).join(" "));
}

function showBars(stages) {
  const names = Object.keys(stages).filter((name) => stages[name].count), list = $("bars");
  const parts = names.filter((name) => !name.includes("_to_")), whole = names.filter((name) => name.includes("_to_"));
  const most = Math.max(1, ...names.map((name) => stages[name].p95_ms));
  list.replaceChildren(...[...parts, ...whole].map((name) => {
    const { p50_ms, p95_ms } = stages[name], item = document.createElement("li");
    item.className = name.includes("_to_") ? (name === whole[0] ? "whole first" : "whole") : "";
    const label = make("span", "", name.replace("captured_to_", "capture → ").replace("received_to_", "receipt → "));
    const track = make("span", "track"), median = make("span", "median"), tail = make("span", "tail");
    median.style.width = `${(100 * p50_ms) / most}%`;
    tail.style.left = `${(100 * p95_ms) / most}%`;
    track.append(median, tail);
    item.append(label, track, make("b", "", digits(p50_ms, p50_ms < 10 ? 1 : 0)));
    item.setAttribute("aria-label", `${label.textContent}: median ${digits(p50_ms, 1)} ms, 95 of 100 within ${digits(p95_ms, 1)} ms`);
    return item;
  }));
}

// ---------------------------------------------------------------- references

async function loadReferences() {
  if (!page.state.references) return;
  const { references } = await ask("GET", "/api/references");
  $("reference-list").replaceChildren(...references.map(({ name, jpeg }) => {
    const button = make("button", "reference", jpeg ? "" : name);
    button.dataset.name = name;
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", name);
    button.title = name;
    if (jpeg) { const img = make("img"); img.alt = ""; picture(img, jpeg, "image/jpeg"); button.append(img); }
    button.onclick = () => tell(ask("PUT", "/api/reference", { name }));
    return button;
  }));
  $("references").hidden = references.length < 2;
}
$("reference-list").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = [...event.currentTarget.children], next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
  next.focus();
  next.click();
});

// ---------------------------------------------------------------- start

document.addEventListener("visibilitychange", watch);
$("toggle-privacy").onclick = () => {
  page.beside = !page.beside;
  $("toggle-privacy").setAttribute("aria-pressed", String(page.beside));
  $("beside").hidden = !page.beside;
  $("stage").classList.toggle("both", page.beside);
  watch();
};
$("login").onsubmit = (event) => {
  event.preventDefault();
  document.body.dataset.link = "connecting";
  enter($("token").value.trim());
};

// The token stays behind "#", where no server and no log sees it, and leaves the address bar at once.
const token = location.hash.slice(1);
if (token) history.replaceState(null, "", location.pathname + location.search);
enter(token);
