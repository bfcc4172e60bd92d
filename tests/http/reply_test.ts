import { deepEqual, equal, ok } from "node:assert/strict";
import { type ErrorKind, SUCCESS_TEXT, type SuccessKind } from "../../src/http/fleetlock.ts";
import { errorReply, refusalReply, successReply, textReply } from "../../src/http/reply.ts";
import { type ClientId, parseGroup } from "../../src/lock/identity.ts";
import { describeRefusal, type Refusal } from "../../src/lock/outcomes.ts";

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
