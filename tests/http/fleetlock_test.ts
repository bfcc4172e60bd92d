import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import {
  decodeRequest,
  describeDuration,
  describeRefusal,
  encodeError,
  ERROR_STATUS,
  type ErrorKind,
} from "../../src/http/fleetlock.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { Refusal } from "../../src/lock/lock_service.ts";

const NOW = Date.UTC(2026, 10, 22, 22, 12, 30);
const GROUP = parseGroup("default")!;
const ID = "978a225b3d7b40e9acd7ce9b62f68444" as ClientId;

const body = (params: unknown) => JSON.stringify({ client_params: params });

Deno.test("a body as Zincati sends it is understood, pretty-printed or not", () => {
  const params = { client_params: { id: ID, group: "default" } };
  for (const text of [JSON.stringify(params), JSON.stringify(params, null, 2), `\r\n\t ${JSON.stringify(params)} \n`]) {
    deepStrictEqual(decodeRequest(JSON.parse(text)), { kind: "request", id: ID, group: "default" });
  }
});

Deno.test("unknown keys are passed over, and of a key given twice the last counts", () => {
  const text = '{"x":[1,{}],"client_params":{"id":"first","group":"g","extra":null,"id":"last"},"y":1}';
  deepStrictEqual(decodeRequest(JSON.parse(text)), { kind: "request", id: "last", group: "g" });
});

const REFUSED: [name: string, text: string, kind: string][] = [
  [
    "bytes that are no UTF-8, as text, beside",
    '{"x":"\ufffd",' + body({ id: "a", group: "b" }).slice(1),
    "decode_error",
  ],
  ["bytes that are no UTF-8, as text, inside", body({ id: "a", group: "b", x: "\ufffd" }), "decode_error"],
  ["bytes that are no UTF-8, as text, in a key", body({ id: "a", group: "b", "\ufffd": 1 }), "decode_error"],
  ["null", "null", "decode_error"],
  ["a number", "1", "decode_error"],
  ["a string", '"client_params"', "decode_error"],
  ["an array", `[${body({ id: "a", group: "b" })}]`, "decode_error"],
  ["deep nesting", "[".repeat(8_000) + "]".repeat(8_000), "decode_error"],
  ["no client_params", '{"id":"a","group":"b"}', "decode_error"],
  ["client_params null", body(null), "decode_error"],
  ["client_params a string", body("a"), "decode_error"],
  ["client_params an array", body(["a", "b"]), "decode_error"],
  ["client_params on the prototype", '{"__proto__":{"client_params":{"id":"a","group":"b"}}}', "decode_error"],
  ["id on the prototype", '{"client_params":{"__proto__":{"id":"a"},"group":"b"}}', "invalid_id"],
  ["another case", '{"Client_Params":{"id":"a","group":"b"}}', "decode_error"],
  ["no id", body({ group: "b" }), "invalid_id"],
  ["id null", body({ id: null, group: "b" }), "invalid_id"],
  ["id a number", body({ id: 1, group: "b" }), "invalid_id"],
  ["id an array", body({ id: ["a"], group: "b" }), "invalid_id"],
  ["id empty", body({ id: "", group: "b" }), "invalid_id"],
  ["id with a space", body({ id: "a b", group: "b" }), "invalid_id"],
  ["id with a comma", body({ id: "a,b", group: "b" }), "invalid_id"],
  ["id with a control character", body({ id: "a\u0007", group: "b" }), "invalid_id"],
  ["id with a line's end", body({ id: "a\n", group: "b" }), "invalid_id"],
  ["id not ASCII", body({ id: "ä", group: "b" }), "invalid_id"],
  ["id of 300 characters", body({ id: "a".repeat(300), group: "b" }), "invalid_id"],
  ["no group", body({ id: "a" }), "invalid_group"],
  ["group empty", body({ id: "a", group: "" }), "invalid_group"],
  ["group with a slash", body({ id: "a", group: "../b" }), "invalid_group"],
  ["group with an underscore", body({ id: "a", group: "a_b" }), "invalid_group"],
  ["group with a line's end", body({ id: "a", group: "b\n" }), "invalid_group"],
  ["group not ASCII", body({ id: "a", group: "é" }), "invalid_group"],
  ["group a boolean", body({ id: "a", group: true }), "invalid_group"],
  ["group of 300 characters", body({ id: "a", group: "b".repeat(300) }), "invalid_group"],
];

for (const [name, text, kind] of REFUSED) {
  Deno.test(`a body is refused as ${kind}: ${name}`, () => {
    const decoded = decodeRequest(JSON.parse(text));
    strictEqual(decoded.kind, kind);
    ok(decoded.kind !== "request" && decoded.value.length > 20);
  });
}

Deno.test("only the body's own keys count", () => {
  strictEqual(decodeRequest(Object.create({ client_params: { id: "a", group: "b" } })).kind, "decode_error");
  strictEqual(decodeRequest({ client_params: Object.create({ id: "a", group: "b" }) }).kind, "invalid_id");
});

Deno.test("decoding never throws, and lets through just what the domain's own parsers take", () => {
  fc.assert(fc.property(
    fc.oneof(
      fc.jsonValue({ noUnicodeString: false }),
      fc.anything(),
      fc.record({
        client_params: fc.record({
          id: fc.oneof(fc.stringMatching(/^[!-~]{1,9}$/), fc.anything()),
          group: fc.oneof(fc.stringMatching(/^[a-z.-]{1,9}$/), fc.anything()),
        }),
      }),
    ),
    (value) => {
      const decoded = decodeRequest(value);
      if (decoded.kind !== "request") return ERROR_STATUS[decoded.kind] === 400;
      const { id, group } = (value as { client_params: { id: unknown; group: unknown } }).client_params;
      return decoded.id === parseClientId(id) && decoded.group === parseGroup(group);
    },
  ));
});

Deno.test("whatever a sentence holds, an error is one line of JSON with kind and value", () => {
  fc.assert(fc.property(fc.constantFrom(...Object.keys(ERROR_STATUS) as ErrorKind[]), fc.string(), (kind, value) => {
    const text = encodeError(kind, value);
    deepStrictEqual(JSON.parse(text), { kind, value });
    strictEqual(text.indexOf("\n"), text.length - 1);
  }));
});

Deno.test("no error has a status that Zincati takes for a yes or follows", () => {
  for (const status of Object.values(ERROR_STATUS)) ok(status >= 400 && status < 600);
});

const holder = (id: string, minutes: number) => ({ id: id as ClientId, since: NOW - minutes * 60_000 });
const pod = (n: number) => ({ namespace: "web", name: `p${n}`, reason: "it ends" });

const SENTENCES: [refusal: Refusal, sentence: string][] = [
  [
    { kind: "lock_held", slots: 1, holders: [holder(ID, 12.5)] },
    `reboot slot of group "default" is held by ${ID} since 2026-11-22T22:00:00Z (12 min)`,
  ],
  [
    { kind: "lock_held", slots: 2, holders: [holder("a", 60), holder("b", 1)] },
    'all 2 reboot slots of group "default" are held by a since 2026-11-22T21:12:30Z (1 h) ' +
    "and b since 2026-11-22T22:11:30Z (1 min)",
  ],
  [
    { kind: "lock_held", slots: 4, holders: ["a", "b", "c", "d"].map((id) => holder(id, 0)) },
    'all 4 reboot slots of group "default" are held by a since 2026-11-22T22:12:30Z (0 s), ' +
    "b since 2026-11-22T22:12:30Z (0 s), c since 2026-11-22T22:12:30Z (0 s) and 1 other",
  ],
  [
    { kind: "lock_held", slots: 1, holders: [{ id: ID, since: NaN }] },
    `reboot slot of group "default" is held by ${ID}`,
  ],
  [
    { kind: "contended" },
    'the reboot slots of group "default" changed again and again meanwhile: try again',
  ],
  [
    { kind: "too_many_groups", limit: 64 },
    'group "default" is new, and there are 64 groups already, which is as many as may be',
  ],
  [{ kind: "node_ambiguous", nodes: ["n1", "n2"] }, 'several nodes have this client\'s id: "n1" and "n2"'],
  [
    { kind: "draining", node: "n1", pods: [pod(1)] },
    'node "n1" is being drained: 1 pod is left: web/p1 (it ends)',
  ],
  [{ kind: "draining", node: "n1", pods: [] }, 'node "n1" is being drained'],
  [
    { kind: "drain_failed", node: "n1", pods: [1, 2, 3, 4, 5, 6, 7].map(pod) },
    'node "n1" could not be drained: 7 pods are left: web/p1 (it ends), web/p2 (it ends), web/p3 (it ends), ' +
    "web/p4 (it ends), web/p5 (it ends) and 2 others",
  ],
  [
    { kind: "node_not_ready", node: "n1", reason: "it has not rebooted" },
    'node "n1" is not ready yet: it has not rebooted',
  ],
];

for (const [refusal, sentence] of SENTENCES) {
  Deno.test(`a refusal says: ${sentence.slice(0, 90)}`, () => {
    strictEqual(describeRefusal(refusal, GROUP, NOW), sentence);
  });
}

Deno.test("durations are told roughly, and never below zero", () => {
  const told = [-5_000, 0, 59_999, 60_000, 3_599_000, 3_600_000, 47 * 3_600_000, 48 * 3_600_000].map(describeDuration);
  deepStrictEqual(told, ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d"]);
});
