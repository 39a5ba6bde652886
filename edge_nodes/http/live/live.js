// The live page: asks the site each second what it decided. The key comes behind # in the address, which browsers never
// send; it is taken out of the address bar at once, and kept for this tab alone.
import { address, follow, named } from "./decision.js";
import { draw, make, SVG } from "./make.js";
import { look, remember } from "./tide.js";

const OUTCOMES = ["approve", "challenge", "review", "decline"];
const SECONDS = 120;
const STORE = "tidegate-key";
const byId = (id) => document.getElementById(id);
const rates = [];
let before = null;
let held = false;

const said = new URLSearchParams(location.hash.slice(1));
if (said.get("key")) {
  sessionStorage.setItem(STORE, said.get("key"));
  remember(said);
  const decision = said.get("decision");
  history.replaceState(null, "", location.pathname + (decision ? address(decision) : ""));
}

function say(state, text, asks = false) {
  const line = byId("state");
  if (line.textContent !== text) line.textContent = text;
  line.dataset.state = state;
  document.body.toggleAttribute("data-stale", state === "problem");
  if (byId("ask").hidden === asks) byId("ask").hidden = !asks;
}

function shortened(token) {
  return token.length > 14 ? `${token.slice(0, 6)}…${token.slice(-4)}` : token;
}

function why(d) {
  const codes = make("span", d.reasons.map((reason) => reason.code).join(", "));
  codes.title = d.reasons.map((reason) => reason.text).join("\n");
  return d.because ? [make("span", d.because, "because"), codes] : [codes];
}

function row(d, money, digits) {
  const tr = document.createElement("tr");
  tr.dataset.id = d.decision_id;
  const link = document.createElement("a");
  const time = make("time", d.decided_at.slice(11, 23));
  time.dateTime = d.decided_at;
  link.href = address(d.decision_id);
  link.setAttribute("aria-label", `Open the decision of ${d.decided_at.slice(11, 23)}: ${d.outcome}`);
  link.append(time);
  const card = make("td", shortened(d.card));
  card.title = d.card;
  const opens = document.createElement("td");
  opens.append(link);
  const reasons = make("td", "", "reasons");
  reasons.append(...why(d));
  tr.append(opens, card, make("td", money.format(d.amount_minor / 10 ** digits), "number"));
  tr.append(make("td", d.outcome, d.outcome), make("td", d.risk_score ?? "–", "number"), reasons, make("td", d.mode));
  return tr;
}

// Rows that stay are left alone: a keyboard's focus and a half-made selection outlive the second.
function list(recent, money, digits) {
  const body = byId("recent");
  const wanted = new Set(recent.map((d) => d.decision_id));
  const there = new Map([...body.rows].map((tr) => [tr.dataset.id, tr]));
  for (const [id, tr] of there) if (!wanted.has(id)) tr.remove();
  let before = body.firstElementChild;
  for (const d of recent) {
    const tr = there.get(d.decision_id);
    if (!tr) body.insertBefore(row(d, money, digits), before);
    else before = tr.nextElementSibling;
    if (tr && d.because && !tr.querySelector(".because")) tr.querySelector(".reasons").replaceChildren(...why(d));
  }
}

function share(name, count, total) {
  const div = make("div", "", name);
  const part = total ? count / total : 0;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 4");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  draw(svg, "rect", { width: 100 * part, height: 4, fill: "currentColor" });
  div.append(make("b", `${(100 * part).toFixed(1)} %`), ` ${name} `, make("span", count.toLocaleString("en")), svg);
  return div;
}

function spark() {
  const svg = byId("spark");
  const top = Math.max(...rates, 1);
  svg.replaceChildren();
  draw(svg, "line", { x1: 0, x2: 240, y1: 47, y2: 47 });
  const points = rates.map((rate, at) => `${240 - (rates.length - 1 - at) * (240 / (SECONDS - 1))},${46 - (44 * rate) / top}`);
  draw(svg, "polyline", { points: points.join(" ") });
  svg.setAttribute("aria-label", `Decisions a second in the last ${rates.length} seconds, ${Math.round(top)} at the most`);
}

function measure(total) {
  const now = performance.now();
  if (before !== null && total >= before.total) {
    rates.push(((total - before.total) / (now - before.now)) * 1000);
    rates.splice(0, rates.length - SECONDS);
    byId("rate").textContent = Math.round(rates.at(-1)).toLocaleString("en");
    spark();
  }
  before = { total, now };
}

function show(live) {
  const total = OUTCOMES.reduce((sum, name) => sum + live.outcomes[name], 0);
  const money = new Intl.NumberFormat("en", { style: "currency", currency: live.currency });
  const digits = money.resolvedOptions().maximumFractionDigits;
  measure(total);
  document.title = `${live.site} | Tidegate`;
  byId("site").textContent = live.site;
  byId("p50").textContent = live.p50_ms?.toPrecision(3) ?? "–";
  byId("p99").textContent = live.p99_ms?.toPrecision(3) ?? "–";
  byId("cards").textContent = live.cards.toLocaleString("en");
  byId("bundle").textContent = live.bundle;
  byId("outcomes").replaceChildren(...OUTCOMES.map((name) => share(name, live.outcomes[name], total)));
  if (!held) list(live.recent.slice(0, 20), money, digits);
}

async function ask() {
  const key = sessionStorage.getItem(STORE);
  if (!key) return say("problem", "no key: enter one", true);
  const answer = await fetch("v1/live", { headers: { authorization: `Bearer ${key}` }, cache: "no-store" });
  const body = await answer.json();
  if (answer.status === 401) return say("problem", "wrong key: this site doesn't know it", true);
  if (answer.status === 403) return say("problem", "this key may not read: use another", true);
  if (!answer.ok) return say("problem", body.detail);
  show(body);
  look(key);
  return say("deciding", "deciding");
}

async function tick() {
  try {
    await ask();
  } catch {
    before = null;
    say("problem", "not connected: the site doesn't answer");
  }
  setTimeout(tick, 1000);
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(STORE, byId("key").value.trim());
  byId("key").value = "";
  ask().catch(() => {});
});
byId("hold").addEventListener("click", () => {
  held = !held;
  byId("hold").setAttribute("aria-pressed", String(held));
});
byId("recent").addEventListener("click", (event) => {
  const tr = event.target.closest("tr");
  if (tr && !event.target.closest("a") && getSelection().isCollapsed) location.hash = address(tr.dataset.id);
});

tick();
if (named() !== null) follow();
