import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { describeRefusal, type ErrorKind, SUCCESS_TEXT, type SuccessKind } from "../../src/http/fleetlock.ts";
import { errorReply, refusalReply, successReply, textReply } from "../../src/http/reply.ts";
import { type ClientId, parseGroup } from "../../src/lock/identity.ts";
import type { Refusal } from "../../src/lock/lock_service.ts";

const NOW = Date.UTC(2026, 10, 22, 22, 12, 30);
const GROUP = parseGroup("default")!;

const holder = (id: string) => ({ id: id as ClientId, since: NOW });

Deno.test("a refusal is told afresh for each second, slots and holders", async () => {
  const value = async (refusal: Refusal, now: number) => (await refusalReply(refusal, GROUP, now).json()).value;
  const holders = [holder("a")];
  for (const at of [NOW, NOW + 1, NOW + 1_000, NOW + 3_600_000, NOW]) {
    for (const slots of [1, 2]) {
      const refusal: Refusal = { kind: "lock_held", slots, holders };
      strictEqual(await value(refusal, at), describeRefusal(refusal, GROUP, at));
    }
  }
  const other: Refusal = { kind: "lock_held", slots: 1, holders: [holder("b")] };
  strictEqual(await value(other, NOW), describeRefusal(other, GROUP, NOW));
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
  Deno.test(`${name} is the same each time, and whole: status, headers and body`, async () => {
    const [first, second] = [make(), make()];
    for (const reply of [first, second]) {
      strictEqual(reply.status, status);
      strictEqual(reply.headers.get("content-type"), type);
      strictEqual(reply.headers.get("cache-control"), "no-store");
      strictEqual(reply.headers.get("x-content-type-options"), "nosniff");
      ok(reply.headers.get("content-security-policy")?.includes("default-src 'none'"));
    }
    const text = await first.text();
    ok(text.length > 0);
    strictEqual(await second.text(), text);
    // What is done to one is not done to the next.
    first.headers.set("cache-control", "x");
    strictEqual(make().headers.get("cache-control"), "no-store");
  });
}

Deno.test("headers of one error are not those of another", () => {
  const kind: ErrorKind = "store_unavailable";
  deepStrictEqual(errorReply(kind, "x", { "retry-after": "5" }).headers.get("retry-after"), "5");
  deepStrictEqual(errorReply(kind, "x").headers.get("retry-after"), null);
});
