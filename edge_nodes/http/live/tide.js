// The sites and their way to the cloud: this door's own, and those that the address names beside it, each with its key.
import { draw, make, SVG } from "./make.js";

const LANES = { L0: "money", L1: "decisions", L2: "events", L3: "traces" };
const SECONDS = 120;
const SILENT_S = 10;
const STORE = "tidegate-beside";
const section = document.getElementById("sites");
const cards = new Map();
let asking = false;

// Takes what the address says of other sites: pairs of `beside` and `beside-key`, kept for this tab alone.
export function remember(given) {
  const keys = given.getAll("beside-key");
  const named = given.getAll("beside").map((url, at) => ({ url: url.replace(/\/+$/, ""), key: keys[at] ?? "" }));
  if (named.length) sessionStorage.setItem(STORE, JSON.stringify(named));
}

const beside = () => JSON.parse(sessionStorage.getItem(STORE) ?? "[]");
const whole = (number) => Math.round(number).toLocaleString("en");

export function span(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [size, unit] = seconds < 5400 ? [60, "min"] : seconds < 172800 ? [3600, "h"] : [86400, "days"];
  return `${Math.round(seconds / size)} ${unit}`;
}

function way(tide) {
  if (!tide) return ["none", "no cloud"];
  if (tide.told_s > SILENT_S) return ["silent", `the uplink says nothing since ${span(tide.told_s)}`];
  return tide.connected ? ["up", "connected"] : ["cut", "cut off"];
}

function lag(tide) {
  if (!tide.behind) return "the cloud has everything";
  return `${whole(tide.behind)} behind, the oldest for ${span(tide.lag_s)}`;
}

function table(lanes) {
  const made = document.createElement("table");
  const head = document.createElement("tr");
  for (const name of ["Lane", "Journaled", "Cloud", "Live", "Backlog"]) {
    const cell = make("th", name, name === "Lane" ? "" : "number");
    cell.scope = "col";
    head.append(cell);
  }
  const body = document.createElement("tbody");
  for (const [lane, one] of Object.entries(lanes)) {
    const row = document.createElement("tr");
    row.append(make("td", `${lane} ${LANES[lane] ?? ""}`));
    for (const count of [one.journaled, one.committed, one.live, one.backlog]) row.append(make("td", whole(count), "number"));
    body.append(row);
  }
  made.append(document.createElement("thead"), body);
  made.tHead.append(head);
  return made;
}

function spark(svg, behind) {
  const top = Math.max(...behind, 1);
  svg.replaceChildren();
  draw(svg, "line", { x1: 0, x2: 240, y1: 39, y2: 39 });
  const points = behind.map((count, at) => `${240 - (behind.length - 1 - at) * (240 / (SECONDS - 1))},${38 - (36 * count) / top}`);
  draw(svg, "polyline", { points: points.join(" ") });
  svg.setAttribute("aria-label", `Records behind in the last ${behind.length} seconds, ${whole(top)} at the most`);
}

function card(url) {
  if (cards.has(url)) return cards.get(url);
  const element = document.createElement("article");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 240 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const parts = { name: make("h3", url), way: make("p", "", "way"), lag: make("p", "", "lag"), heard: make("p", "", "heard") };
  const lanes = make("div", "", "lanes");
  element.append(parts.name, parts.way, parts.lag, parts.heard, svg, lanes);
  section.append(element);
  const made = { element, parts, lanes, svg, behind: [], before: null };
  cards.set(url, made);
  return made;
}

function speed(made, site) {
  const now = performance.now();
  const count = site.journal.heads.L1;
  const { before } = made;
  made.before = { count, now };
  if (!before || count < before.count) return "";
  return `${whole((1000 * (count - before.count)) / (now - before.now))} decisions/s`;
}

function show(made, site) {
  const { tide } = site;
  const [state, words] = way(tide);
  made.element.dataset.way = state;
  made.parts.name.textContent = site.site;
  made.parts.way.textContent = words;
  made.parts.lag.textContent = tide ? lag(tide) : "";
  const heard = tide && tide.heard_s !== null ? `last answer ${span(tide.heard_s)} ago` : "";
  made.parts.heard.textContent = [speed(made, site), heard, tide?.trouble].filter(Boolean).join(" · ");
  made.lanes.replaceChildren(...(tide ? [table(tide.lanes)] : []));
  made.behind.push(tide ? tide.behind : 0);
  made.behind.splice(0, made.behind.length - SECONDS);
  spark(made.svg, made.behind);
}

function missed(made, why) {
  made.element.dataset.way = "silent";
  made.parts.way.textContent = why;
  made.before = null;
}

async function ask({ url, key }) {
  const made = card(url);
  try {
    const headers = { authorization: `Bearer ${key}` };
    const answer = await fetch(`${url}/v1/site`, { headers, cache: "no-store", signal: AbortSignal.timeout(3000) });
    const body = await answer.json();
    if (answer.ok) show(made, body);
    else missed(made, answer.status === 401 || answer.status === 403 ? "its key may not read" : body.detail);
  } catch {
    missed(made, "not reached: it is down, or its door.origins doesn't name this page");
  }
}

// Asks all sites once, unless the last time isn't over yet.
export async function look(own) {
  if (asking) return;
  asking = true;
  try {
    await Promise.all([{ url: location.origin, key: own }, ...beside()].map(ask));
    section.hidden = false;
  } finally {
    asking = false;
  }
}
