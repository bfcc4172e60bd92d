/**
 * The parsers of configuration values.
 *
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import {
  basePath,
  boolean,
  duration,
  listenAddress,
  namespaceName,
  oneOf,
  positiveInteger,
  storeChoice,
  text,
  type ValueParser,
} from "../../src/config/values.ts";

const parsers: Record<string, { parser: ValueParser<unknown>; values: [raw: string, parsed: unknown][] }> = {
  address: {
    parser: listenAddress,
    values: [
      ["0.0.0.0:8080", { hostname: "0.0.0.0", port: 8080 }],
      ["[::]:8080", { hostname: "::", port: 8080 }],
      ["[::1]:0", { hostname: "::1", port: 0 }],
      [":8080", { hostname: "0.0.0.0", port: 8080 }],
      ["localhost:65535", { hostname: "localhost", port: 65535 }],
      ["8080", undefined],
      ["localhost", undefined],
      ["localhost:", undefined],
      ["localhost:65536", undefined],
      ["localhost:-1", undefined],
      ["localhost:http", undefined],
      ["::1:8080", undefined],
      ["http://localhost:8080", undefined],
      ["a b:80", undefined],
      ["", undefined],
    ],
  },
  "base path": {
    parser: basePath,
    values: [
      ["/", ""],
      ["", ""],
      ["/fleetlock", "/fleetlock"],
      ["/fleetlock/", "/fleetlock"],
      ["/a/b.c~d_e-1", "/a/b.c~d_e-1"],
      ["/...", "/..."],
      ["fleetlock", undefined],
      ["//", undefined],
      ["/a//b", undefined],
      ["/a/../b", undefined],
      ["/.", undefined],
      ["/a b", undefined],
      ["/a?b", undefined],
      ["/a%20b", undefined],
      ["/ä", undefined],
      ["http://host/a", undefined],
    ],
  },
  duration: {
    parser: duration,
    values: [
      ["90s", 90_000],
      ["15m", 900_000],
      ["1h30m", 5_400_000],
      ["1.5m", 90_000],
      ["250ms", 250],
      ["1ms", 1],
      ["596h", 2_145_600_000],
      ["596h1ms", undefined],
      ["597h", undefined],
      ["0s", undefined],
      ["0.5ms", undefined],
      ["15", undefined],
      ["m", undefined],
      ["-1s", undefined],
      ["1 s", undefined],
      ["1d", undefined],
      ["", undefined],
    ],
  },
  namespace: {
    parser: namespaceName,
    values: [
      ["default", "default"],
      ["a", "a"],
      ["0-9", "0-9"],
      ["a".repeat(63), "a".repeat(63)],
      ["a".repeat(64), undefined],
      ["Bad_NS", undefined],
      ["a.b", undefined],
      ["-a", undefined],
      ["a-", undefined],
      ["a\n", undefined],
      ["", undefined],
    ],
  },
  "positive integer": {
    parser: positiveInteger,
    values: [
      ["1", 1],
      ["999999999", 999_999_999],
      ["0", undefined],
      ["-1", undefined],
      ["1.5", undefined],
      ["1e3", undefined],
      ["1000000000", undefined],
      ["", undefined],
    ],
  },
  boolean: {
    parser: boolean,
    values: [
      ["true", true],
      ["T", true],
      ["1", true],
      ["FALSE", false],
      ["f", false],
      ["0", false],
      ["yes", undefined],
      ["", undefined],
    ],
  },
  store: {
    parser: storeChoice,
    values: [
      ["kubernetes", { kind: "kubernetes" }],
      ["memory", { kind: "memory" }],
      ["sqlite:/a b/locks.db", { kind: "sqlite", path: "/a b/locks.db" }],
      ["sqlite:", undefined],
      ["sqlite", undefined],
      ["Memory", undefined],
      ["postgres", undefined],
    ],
  },
  word: {
    parser: oneOf("evict", "refuse"),
    values: [["evict", "evict"], ["refuse", "refuse"], ["Evict", undefined], ["", undefined]],
  },
  text: { parser: text("anything"), values: [["", ""], ["a=b", "a=b"]] },
};

for (const [kind, { parser, values }] of Object.entries(parsers)) {
  for (const [raw, parsed] of values) {
    Deno.test(`as ${kind}, ${JSON.stringify(raw)} is ${parsed === undefined ? "not valid" : "valid"}`, () => {
      deepEqual(parser.parse(raw), parsed);
    });
  }
}

Deno.test("the choice between words reads as a sentence", () => {
  equal(oneOf("refuse", "proceed", "delete").expected, "refuse, proceed or delete");
  equal(oneOf("json", "text").expected, "json or text");
  equal(oneOf("json").expected, "json");
});
