import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { answerKinds, decodeRequest, encodeJson, ERROR_STATUS, type ErrorKind } from "../../src/http/fleetlock.ts";
import { REASON_KINDS } from "../../src/lock/policy.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";

const ID = "978a225b3d7b40e9acd7ce9b62f68444" as ClientId;

const body = (params: unknown) => JSON.stringify({ client_params: params });

Deno.test("a body as Zincati sends it is decoded, pretty-printed or not", () => {
  const params = { client_params: { id: ID, group: "default" } };
  for (const text of [JSON.stringify(params), JSON.stringify(params, null, 2), `\r\n\t ${JSON.stringify(params)} \n`]) {
    deepEqual(decodeRequest(JSON.parse(text)), { kind: "request", id: ID, group: "default" });
  }
});

Deno.test("unknown keys are ignored, and the last value of a repeated key counts", () => {
  const text = '{"x":[1,{}],"client_params":{"id":"first","group":"g","extra":null,"id":"last"},"y":1}';
  deepEqual(decodeRequest(JSON.parse(text)), { kind: "request", id: "last", group: "g" });
});

const REFUSED: [name: string, text: string, kind: string][] = [
  [
    "U+FFFD beside client_params",
    '{"x":"\ufffd",' + body({ id: "a", group: "b" }).slice(1),
    "decode_error",
  ],
  ["U+FFFD in client_params", body({ id: "a", group: "b", x: "\ufffd" }), "decode_error"],
  ["U+FFFD in a key", body({ id: "a", group: "b", "\ufffd": 1 }), "decode_error"],
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
  ["id with a line break", body({ id: "a\n", group: "b" }), "invalid_id"],
  ["id not ASCII", body({ id: "ä", group: "b" }), "invalid_id"],
  ["id of 300 characters", body({ id: "a".repeat(300), group: "b" }), "invalid_id"],
  ["no group", body({ id: "a" }), "invalid_group"],
  ["group empty", body({ id: "a", group: "" }), "invalid_group"],
  ["group with a slash", body({ id: "a", group: "../b" }), "invalid_group"],
  ["group with an underscore", body({ id: "a", group: "a_b" }), "invalid_group"],
  ["group with a line break", body({ id: "a", group: "b\n" }), "invalid_group"],
  ["group not ASCII", body({ id: "a", group: "é" }), "invalid_group"],
  ["group a boolean", body({ id: "a", group: true }), "invalid_group"],
  ["group of 300 characters", body({ id: "a", group: "b".repeat(300) }), "invalid_group"],
];

for (const [name, text, kind] of REFUSED) {
  Deno.test(`a body is refused as ${kind}: ${name}`, () => {
    const decoded = decodeRequest(JSON.parse(text));
    equal(decoded.kind, kind);
    ok(decoded.kind !== "request" && decoded.value.length > 20);
  });
}

Deno.test("inherited properties of the body do not count", () => {
  equal(decodeRequest(Object.create({ client_params: { id: "a", group: "b" } })).kind, "decode_error");
  equal(decodeRequest({ client_params: Object.create({ id: "a", group: "b" }) }).kind, "invalid_id");
});

Deno.test("decoding never throws, and accepts exactly what the parsers of ids and groups accept", () => {
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

Deno.test("an error is one line of JSON with kind and value, whatever its sentence contains", () => {
  fc.assert(fc.property(fc.constantFrom(...Object.keys(ERROR_STATUS) as ErrorKind[]), fc.string(), (kind, value) => {
    const text = encodeJson(kind, value);
    deepEqual(JSON.parse(text), { kind, value });
    equal(text.indexOf("\n"), text.length - 1);
  }));
});

Deno.test("no error has a status that Zincati takes for a yes or a redirect", () => {
  for (const status of Object.values(ERROR_STATUS)) ok(status >= 400 && status < 600);
});

const PROTOCOL_KINDS = [
  "api_refused",
  "body_too_large",
  "contended",
  "decode_error",
  "internal_error",
  "invalid_group",
  "invalid_id",
  "method_not_allowed",
  "missing_header",
  "request_timeout",
  "store_unavailable",
  "write_altered",
];
const KINDS: [endpoint: Parameters<typeof answerKinds>[0], kinds: string[]][] = [
  [
    "pre-reboot",
    [
      ...PROTOCOL_KINDS,
      "drain_failed",
      "drain_refused",
      "draining",
      "granted",
      "hold_unreadable",
      "lock_ending",
      "lock_held",
      "node_ambiguous",
      "permission_missing",
      "renewed",
      "too_many_groups",
      ...REASON_KINDS,
    ],
  ],
  ["steady-state", [...PROTOCOL_KINDS, "node_not_ready", "not_held", "released"]],
  ["other", ["decode_error", "internal_error", "method_not_allowed", "not_found", "store_unavailable"]],
];

for (const [endpoint, kinds] of KINDS) {
  Deno.test(`the answers of the endpoint "${endpoint}" are those of the tables`, () => {
    deepEqual(answerKinds(endpoint).sort(), kinds.toSorted());
  });
}

Deno.test("every kind of error is an answer of some endpoint", () => {
  const known = new Set<string>(KINDS.flatMap(([endpoint]) => answerKinds(endpoint)));
  for (const kind of Object.keys(ERROR_STATUS)) ok(known.has(kind), kind);
});
