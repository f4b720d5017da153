// What both halves of the page use.

export const $ = (id) => document.getElementById(id);

export const page = { state: null, views: ["face", "privacy"], beside: false, socket: null, tries: 0, transport: "WebSocket", paintedAt: 0, painted: 0, series: {}, ended: false };

export async function ask(method, path, body, headers = {}) {
  const told = body === undefined ? {} : { "Content-Type": "application/json" };
  const reply = await fetch(path, { method, headers: { ...told, ...headers }, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin", cache: "no-store" });
  if (reply.status === 204) return null;
  const content = await reply.json().catch(() => ({ message: `the server answered ${reply.status}` }));
  if (reply.ok) return content;
  throw Object.assign(new Error(content.message), { status: reply.status, hint: content.hint });
}

let toastTimer = 0;
export function toast(error) {
  const box = $("toast");
  box.textContent = error.hint ? `${error.message} — ${error.hint}` : error.message;
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { box.hidden = true; }, 7000);
}
export const tell = (promise) => promise.catch(toast);

export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) : "");
export const digits = (value, places = 0) => (value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(places));

export function make(tag, name = "", text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  return element;
}
export function facts(list, pairs) { list.replaceChildren(...pairs.flatMap(([key, value]) => [make("dt", "", key), make("dd", "", value || "–")])); }

export function picture(img, base64, type) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  if (img.src) URL.revokeObjectURL(img.src);
  img.src = URL.createObjectURL(new Blob([bytes], { type }));
}
