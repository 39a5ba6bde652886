// Asks a site to decide one payment: plain JavaScript, nothing to install. Node 18 and newer, Deno and Bun run it:
//
//     TIDEGATE_URL=http://127.0.0.1:8410 TIDEGATE_KEY=tgk_... node docs/examples/decide.mjs
//
// For programs that can keep a key. A web page can't: it asks its own server, and the server the site.

const AGAIN = new Set([408, 425, 429, 500, 502, 503, 504]);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A payment of now. Its id is made here, once: keep the payment until there is an answer. */
export function payment(fields) {
  return { transaction_id: crypto.randomUUID(), occurred_at: new Date().toISOString(), ...fields };
}

/**
 * The decision on a payment. Every attempt sends the same bytes, so that a site decides once, however many arrive.
 * Throws what the site refuses, with `status`, `code` and `errors` of its problem document; throws after `patienceMs`
 * without an answer, when it isn't known whether the site has decided: ask again with the same payment.
 */
export async function decide(url, key, payment, { patienceMs = 30_000, attemptMs = 5_000, deadlineMs } = {}) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  if (deadlineMs !== undefined) headers["x-deadline-ms"] = String(deadlineMs);
  const body = JSON.stringify(payment);
  const ends = Date.now() + patienceMs;
  for (let attempt = 0, last = "nothing"; ; attempt += 1) {
    let asked = 0;
    try {
      const signal = AbortSignal.timeout(Math.max(1, Math.min(attemptMs, ends - Date.now())));
      const answer = await fetch(`${url}/v1/decisions`, { method: "POST", headers, body, signal });
      if (!AGAIN.has(answer.status)) {
        const told = await answer.json();
        if (answer.ok) return told;
        throw Object.assign(new Error(told.detail), { status: answer.status, code: told.code, errors: told.errors });
      }
      last = `status ${answer.status}`;
      asked = 1000 * Number(answer.headers.get("retry-after") ?? 0) || 0;
    } catch (error) {
      if (error.status) throw error; // refused: another attempt would be, too
      last = error.name;
    }
    const wait = Math.max(asked, Math.random() * Math.min(5_000, 50 * 2 ** attempt));
    if (Date.now() + wait >= ends) throw new Error(`no answer after ${attempt + 1} attempts (${last})`);
    await pause(wait);
  }
}

const asked = payment({
  amount: { minor: 1250, currency: "EUR" },
  card: "card-1",
  terminal: "t-1",
  merchant: "m-1",
  channel: "online",
});
const decision = await decide(process.env.TIDEGATE_URL, process.env.TIDEGATE_KEY, asked, { deadlineMs: 2_000 });
console.log(JSON.stringify({ outcome: decision.outcome, transaction_id: decision.transaction_id }));
