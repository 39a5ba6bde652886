// One decision, opened: why it came out so, what it rests on, and whether it comes out the same again.
// It is named behind # in the address, so that it can be sent to a colleague, who needs a key of their own.
import { draw, make, SVG } from "./make.js";

const STORE = "tidegate-key";
const FEATURES = 38;
const FIRST = 8;
const PREFIX = "#decision=";
const DID = { decided: "decided", braked: "braked", suppressed: "suppressed for this card", failed: "failed", hit: "hit" };
const sheet = document.getElementById("decision");
const part = (name) => sheet.querySelector(`[data-part="${name}"]`);
let asked = 0;

export const named = () =>
  location.hash.startsWith(PREFIX) ? decodeURIComponent(location.hash.slice(PREFIX.length)) : null;
export const address = (id) => `${PREFIX}${encodeURIComponent(id)}`;

const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
const plain = (number) => `${number < 0 ? "−" : ""}${Math.abs(number).toFixed(2)}`;
const when = (text) => text.replace("T", " ").replace(/(\.\d{3})\d*Z$/, "$1 UTC");

function took(from, to) {
  const seconds = (Date.parse(to) - Date.parse(from)) / 1000;
  if (seconds < 0) return "before it was paid, by the device's clock";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  const steps = [[172800, 86400, "days"], [5400, 3600, "hours"], [0, 60, "minutes"]];
  const [, size, unit] = steps.find(([least]) => seconds >= least);
  return `${Math.round(seconds / size)} ${unit}`;
}

function money(amount) {
  const format = new Intl.NumberFormat("en", { style: "currency", currency: amount.currency });
  return format.format(amount.minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

async function get(path) {
  const headers = { authorization: `Bearer ${sessionStorage.getItem(STORE)}` };
  const answer = await fetch(path, { headers, cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail);
  return body;
}

function pairs(rows) {
  const list = document.createElement("dl");
  for (const [name, value, note] of rows) {
    if (value === null || value === undefined || value === "") continue;
    const described = make("dd", String(value));
    if (note) described.append(" ", make("small", note, `step ${note}`));
    const pair = make("div", "", String(value).length > 30 ? "long" : "");
    pair.append(make("dt", name), described);
    list.append(pair);
  }
  return list;
}

function bar(contribution, most) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 200 10");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const width = most ? (96 * Math.abs(contribution)) / most : 0;
  draw(svg, "rect", { x: contribution < 0 ? 100 - width : 100, y: 1, width, height: 8, rx: 1.5, fill: "currentColor" });
  draw(svg, "line", { x1: 100, x2: 100, y1: 0, y2: 10, class: "zero" });
  return svg;
}

function feature(each, most) {
  const item = make("li", "", each.direction);
  const words = make("p", each.text);
  const name = make("small", each.feature);
  name.title = each.label;
  words.append(name);
  item.append(words);
  if (each.contribution === null) return item;
  const number = make("span", signed(each.contribution), "weight");
  number.append(make("span", each.direction === "raises" ? " raises the risk" : " lowers the risk", "unseen"));
  item.append(bar(each.contribution, most), number);
  return item;
}

function sum(told, probability) {
  const { base, margin } = told;
  const line = document.createElement("p");
  line.append(
    make("b", plain(base)), " for a payment of which nothing is known, ",
    make("b", signed(margin - base)), " by this one's features: ",
    make("b", plain(margin)), ` in log odds, calibrated to ${(100 * probability).toPrecision(3)} %. `,
    make("span", told.sums_to_margin ? "It adds up." : "It does not add up: tell the site's operator.", told.sums_to_margin ? "good" : "bad"),
  );
  return line;
}

function features(d) {
  const told = d.explanation;
  if (!told) return [make("p", `Nothing to explain: ${d.unexplained}.`)];
  const most = Math.max(...told.features.map((each) => Math.abs(each.contribution)));
  const list = make("ol", "", "features");
  const items = told.features.map((each) => feature(each, most));
  list.append(...items.slice(0, FIRST));
  const shown = [list];
  if (items.length > FIRST) {
    const more = make("button", `All ${items.length} features`);
    more.type = "button";
    more.setAttribute("aria-expanded", "false");
    more.addEventListener("click", () => {
      const open = list.children.length === FIRST;
      if (open) list.append(...items.slice(FIRST));
      else list.replaceChildren(...items.slice(0, FIRST));
      more.textContent = open ? `The first ${FIRST} features` : `All ${items.length} features`;
      more.setAttribute("aria-expanded", String(open));
    });
    shown.push(more);
  }
  if (told.base !== null && d.probability !== null) shown.unshift(sum(told, d.probability));
  return shown;
}

function reasons(d, catalogue) {
  const list = make("ul", "", "reasons");
  for (const reason of d.reasons) {
    const known = catalogue.data.find((each) => each.code === reason.code);
    const item = document.createElement("li");
    item.append(make("code", reason.code), make("p", reason.text));
    if (known) item.append(make("p", known.action, "action"));
    list.append(item);
  }
  const payer = make("p", "", "payer");
  payer.append("To the payer: ", make("q", catalogue.payer[d.outcome]));
  return d.reasons.length ? [list, payer] : [make("p", "Nothing spoke against it."), payer];
}

function rules(hits) {
  const list = make("ul", "", "rules");
  for (const hit of hits) {
    const item = document.createElement("li");
    const name = hit.id ? `${hit.id} v${hit.version}` : `rule ${hit.number} of a policy no longer in force`;
    const did = hit.did === "hit" && hit.state === "shadow" ? "hit, in the shadow" : DID[hit.did];
    item.append(make("code", name), " ", make("small", did, "step"));
    if (hit.text) item.append(make("p", hit.text));
    list.append(item);
  }
  return list;
}

function inputs(d) {
  const r = d.request;
  return pairs([
    ["Amount", money(r.amount)], ["Paid at", when(r.occurred_at)], ["Card", r.card], ["Device", r.device],
    ["Terminal", r.terminal], ["Merchant", r.merchant], ["Channel", r.channel.replaceAll("_", " ")],
    ["Entry", r.entry_mode?.replaceAll("_", " ")], ["Country", r.country], ["Category", r.mcc],
  ]);
}

function rests(d) {
  const trained = d.explanation?.trained_at;
  return pairs([
    ["Model", d.versions.bundle, d.modes.bundle], ["Model's age then", trained ? took(trained, d.decided_at) : null],
    ["Policy", d.versions.policy, d.modes.policy],
    ["Lists", d.versions.lists ? `version ${d.versions.lists}` : "none", d.modes.lists],
    ["Configuration", d.versions.config], ["Features", d.versions.features],
    ["Features as of", when(d.features_as_of)], ["Decided at", when(d.decided_at)],
    ["After it was paid", took(d.request.occurred_at, d.decided_at)], ["Bears a fraud's loss", d.liability],
    ["Decision", d.decision_id],
  ]);
}

function difference(one) {
  const row = document.createElement("tr");
  row.append(make("th", one.field), make("td", one.stored), make("td", one.replayed));
  row.firstChild.scope = "row";
  return row;
}

function differences(found) {
  const table = document.createElement("table");
  const head = document.createElement("tr");
  head.append(make("th", "Field"), make("th", "Stored"), make("th", "Replayed"));
  for (const cell of head.children) cell.scope = "col";
  table.append(head, ...found.map(difference));
  return table;
}

async function check(id, button, line) {
  button.disabled = true;
  line.dataset.state = "";
  line.textContent = "reading the journal…";
  part("differences").replaceChildren();
  try {
    const found = await get(`v1/decisions/${encodeURIComponent(id)}/replay`);
    line.dataset.state = found.equal ? "good" : "bad";
    line.textContent = found.equal ? "Equal to the bit." : `NOT equal: ${found.differences.length} fields differ.`;
    if (!found.equal) part("differences").append(differences(found.differences));
  } catch (error) {
    line.dataset.state = "bad";
    line.textContent = error.message;
  }
  button.disabled = false;
}

function fill(d, catalogue) {
  const outcome = part("outcome");
  outcome.textContent = d.outcome;
  outcome.className = `badge ${d.outcome}`;
  part("title").textContent = d.transaction_id;
  const risk = d.risk_score === null ? "no score" : `risk ${d.risk_score} of 100, ${d.risk_level.replace("_", " ")}`;
  part("gist").textContent = `${money(d.request.amount)}, ${risk}, ${d.mode}`;
  part("reasons").replaceChildren(...reasons(d, catalogue));
  part("features").replaceChildren(...features(d));
  part("rules").hidden = !d.rule_hits.length;
  part("rules-list").replaceChildren(rules(d.rule_hits));
  part("inputs").replaceChildren(inputs(d));
  part("rests").replaceChildren(rests(d));
  const line = part("replayed");
  line.textContent = "";
  part("differences").replaceChildren();
  part("replay").onclick = () => check(d.decision_id, part("replay"), line);
  sheet.dataset.state = "open";
}

function clear(id, text, state) {
  sheet.dataset.state = state;
  part("outcome").textContent = "";
  part("outcome").className = "badge";
  part("title").textContent = id;
  part("gist").textContent = text;
}

export async function follow() {
  const id = named();
  const mine = ++asked;
  if (id === null) return sheet.open && sheet.close();
  clear(id, "opening…", "opening");
  if (!sheet.open) sheet.showModal();
  if (!sessionStorage.getItem(STORE)) return clear(id, "no key: close this, enter one, and open it again", "problem");
  try {
    const path = `v1/decisions/${encodeURIComponent(id)}?explain=true&top=${FEATURES}`;
    const [d, catalogue] = await Promise.all([get(path), get("v1/reasons")]);
    if (mine === asked) fill(d, catalogue);
  } catch (error) {
    if (mine === asked) clear(id, error.message, "problem");
  }
  return undefined;
}

sheet.addEventListener("close", () => {
  if (named() !== null) history.replaceState(null, "", location.pathname);
});
sheet.addEventListener("click", (event) => {
  if (event.target === sheet) sheet.close();
});
part("close").addEventListener("click", () => sheet.close());
window.addEventListener("hashchange", follow);
