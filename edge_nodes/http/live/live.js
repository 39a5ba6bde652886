// The live page: asks the site twice a second what it decided. The key stands behind # in the address, which is never sent.
const key = new URLSearchParams(location.hash.slice(1)).get("key") ?? "";
const byId = (id) => document.getElementById(id);
const OUTCOMES = ["approve", "challenge", "review", "decline"];
let before = null;

function cell(text, className = "") {
  const td = document.createElement("td");
  td.textContent = text;
  td.className = className;
  return td;
}

function row(d, currency) {
  const tr = document.createElement("tr");
  const amount = new Intl.NumberFormat("en", { style: "currency", currency });
  const digits = amount.resolvedOptions().maximumFractionDigits;
  tr.append(
    cell(d.decided_at.slice(11, 23)),
    cell(d.card),
    cell(amount.format(d.amount_minor / 10 ** digits), "right"),
    cell(d.outcome, d.outcome),
    cell(d.risk_score ?? "–", "right"),
    cell(d.reasons.map((reason) => reason.code).join(" ")),
  );
  return tr;
}

function bar(name, count, total) {
  const div = document.createElement("div");
  const label = document.createElement("span");
  const meter = document.createElement("meter");
  label.textContent = `${name} ${count.toLocaleString("en")}`;
  meter.max = Math.max(total, 1);
  meter.value = count;
  meter.className = name;
  div.append(label, meter);
  return div;
}

function show(live) {
  const total = OUTCOMES.reduce((sum, name) => sum + live.outcomes[name], 0);
  const now = performance.now();
  if (before !== null && total >= before.total) {
    byId("rate").textContent = (((total - before.total) / (now - before.now)) * 1000).toFixed(0);
  }
  before = { total, now };
  byId("site").textContent = live.site;
  byId("p50").textContent = live.p50_ms ?? "–";
  byId("p99").textContent = live.p99_ms ?? "–";
  byId("cards").textContent = live.cards.toLocaleString("en");
  byId("bundle").textContent = live.bundle;
  byId("outcomes").replaceChildren(...OUTCOMES.map((name) => bar(name, live.outcomes[name], total)));
  byId("recent").replaceChildren(...live.recent.slice(0, 20).map((d) => row(d, live.currency)));
}

async function tick() {
  try {
    const answer = await fetch("v1/live", { headers: { authorization: `Bearer ${key}` } });
    const body = await answer.json();
    byId("state").textContent = answer.ok ? "deciding" : body.detail;
    if (answer.ok) show(body);
  } catch {
    byId("state").textContent = "the site doesn't answer";
  }
  setTimeout(tick, 500);
}

tick();
