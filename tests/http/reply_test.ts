import { deepEqual, equal, ok } from "node:assert/strict";
import { type ErrorKind, SUCCESS_TEXT, type SuccessKind } from "../../src/http/fleetlock.ts";
import { errorReply, refusalReply, successReply, textReply } from "../../src/http/reply.ts";
import { type ClientId, parseGroup } from "../../src/lock/identity.ts";
import { describeRefusal, type Refusal, refusedFor } from "../../src/lock/outcomes.ts";

const NOW = Date.UTC(2026, 10, 22, 22, 12, 30);
const GROUP = parseGroup("default")!;

const holder = (id: string) => ({ id: id as ClientId, since: NOW });

Deno.test("a cached refusal is used only for the same second, slots and holders", async () => {
  const value = async (refusal: Refusal, now: number) => (await refusalReply(refusal, GROUP, now).json()).value;
  const holders = [holder("a")];
  for (const at of [NOW, NOW + 1, NOW + 1_000, NOW + 3_600_000, NOW]) {
    for (const slots of [1, 2]) {
      const refusal: Refusal = { kind: "lock_held", slots, holders };
      equal(await value(refusal, at), describeRefusal(refusal, GROUP, at));
    }
  }
  const other: Refusal = { kind: "lock_held", slots: 1, holders: [holder("b")] };
  equal(await value(other, NOW), describeRefusal(other, GROUP, NOW));
});

const held: Refusal = { kind: "lock_held", slots: 1, holders: [holder("a")] };
const REPLIES: [name: string, make: () => Response, status: number, type: string][] = [
  ["a refusal", () => refusalReply(held, GROUP, NOW), 423, "application/json"],
  ["another refusal", () => refusalReply({ kind: "contended" }, GROUP, NOW), 423, "application/json"],
  ["an error", () => errorReply("store_unavailable", "x", { "retry-after": "5" }), 503, "application/json"],
  ["a page", () => textReply("ok"), 200, "text/plain; charset=utf-8"],
  ...Object.keys(SUCCESS_TEXT).map((kind): typeof REPLIES[number] => [
    `the success ${kind}`,
    () => successReply(kind as SuccessKind),
    200,
    "text/plain; charset=utf-8",
  ]),
];
for (const [name, make, status, type] of REPLIES) {
  Deno.test(`${name} is complete each time: status, headers and body`, async () => {
    const [first, second] = [make(), make()];
    for (const reply of [first, second]) {
      equal(reply.status, status);
      equal(reply.headers.get("content-type"), type);
      equal(reply.headers.get("cache-control"), "no-store");
      equal(reply.headers.get("x-content-type-options"), "nosniff");
      ok(reply.headers.get("content-security-policy")?.includes("default-src 'none'"));
    }
    const text = await first.text();
    ok(text.length > 0);
    equal(await second.text(), text);
    // A change to one response does not reach the next.
    first.headers.set("cache-control", "x");
    equal(make().headers.get("cache-control"), "no-store");
  });
}

Deno.test("headers added to one error do not appear on the next", () => {
  const kind: ErrorKind = "store_unavailable";
  deepEqual(errorReply(kind, "x", { "retry-after": "5" }).headers.get("retry-after"), "5");
  deepEqual(errorReply(kind, "x").headers.get("retry-after"), null);
});

/** An object that counts how often a property of it is read. */
function counting<T extends object>(of: T, property: keyof T): { readonly value: T; reads(): number } {
  let count = 0;
  const value = Object.defineProperty({ ...of }, property, { enumerable: true, get: () => (count++, of[property]) });
  return { value, reads: () => count };
}

Deno.test("the reply to all who wait for the same holders is made once a second", async () => {
  const { value, reads } = counting(holder("a"), "id");
  const holders = [value];
  const ask = async (now: number, slots = 1) => {
    await refusalReply({ kind: "lock_held", slots, holders }, GROUP, now).body?.cancel();
    return reads();
  };
  const first = await ask(NOW);
  ok(first > 0);
  for (const now of [NOW, NOW + 1, NOW + 999]) equal(await ask(now), first);
  equal(await ask(NOW + 1_000), 2 * first);
  equal(await ask(NOW + 1_000, 2), 3 * first);
});

Deno.test("a refusal that tells of time says it for the moment of each reply", async () => {
  const refusal: Refusal = { kind: "lock_held", slots: 1, holders: [holder("a")] };
  for (const [now, age] of [[NOW, "0 s"], [NOW + 2_000, "2 s"], [NOW + 60_000, "1 min"]] as const) {
    const { value } = await refusalReply(refusal, GROUP, now).json();
    ok(value.endsWith(`(${age})`), value);
  }
});

Deno.test("the reply to all who wait for the same reasons is made once, and a new list makes a new one", async () => {
  const reason = { kind: "paused", rule: "paused", sentence: "a fire" } as const;
  const { value, reads } = counting(reason, "sentence");
  const { refusal } = refusedFor([value])!;
  const ask = async (each: Refusal) => {
    const reply = refusalReply(each, GROUP, NOW);
    deepEqual([reply.status, await reply.json()], [423, { kind: "paused", value: "a fire" }]);
    return reads();
  };
  const first = await ask(refusal);
  ok(first > 0);
  equal(await ask(refusal), first);
  const before = reads();
  ok(await ask(refusedFor([value])!.refusal) > before);
});

for (const [kind, text] of Object.entries(SUCCESS_TEXT)) {
  Deno.test(`the success ${kind} is the same in JSON and as text`, async () => {
    const [json, plain] = [successReply(kind as SuccessKind, true), successReply(kind as SuccessKind)];
    deepEqual([json.status, plain.status], [200, 200]);
    equal(json.headers.get("content-type"), "application/json");
    deepEqual([await json.json(), await plain.text()], [{ kind, value: text }, `${text}\n`]);
  });
}
