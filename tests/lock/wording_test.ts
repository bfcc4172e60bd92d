/** How durations, drains and nodes are told. The sentence of each refusal is in outcomes_test.ts. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { type ClientId, parseGroup } from "../../src/lock/identity.ts";
import type { HeldNode } from "../../src/lock/semaphore.ts";
import {
  describeAmbiguity,
  describeDeferral,
  describeDrain,
  describeDuration,
  describeFailedDrain,
  describeHolders,
  describePause,
  printable,
  printableId,
  printableReason,
  UNPRINTABLE,
} from "../../src/lock/wording.ts";

const GROUP = parseGroup("workers")!;
const NOW = Date.UTC(2026, 0, 1, 12);
const held = (id: string, since: number, node?: string) => ({
  id: id as ClientId,
  since,
  ...(node !== undefined && { node: { name: node, uid: "u", phase: "draining" } satisfies HeldNode }),
});
const pod = (name: string, reason = "it shuts down") => ({ namespace: "web", name, reason });

Deno.test("a duration is rounded down to one unit, and a negative one is 0", () => {
  const told = [-5_000, 0, 59_999, 60_000, 3_599_000, 3_600_000, 47 * 3_600_000, 48 * 3_600_000].map(describeDuration);
  deepEqual(told, ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d"]);
});

const MISLEADING: [what: string, char: string][] = [
  ["a line break", "\n"],
  ["a carriage return", "\r"],
  ["the escape character", "\x1b"],
  ["DEL", "\x7f"],
  ["a control character beyond ASCII", "\x9b"],
  ["a mark that turns text around", "\u202e"],
  ["the end of such a mark", "\u202c"],
  ["an isolate", "\u2067"],
  ["a left-to-right mark", "\u200e"],
  ["an Arabic letter mark", "\u061c"],
  ["a line separator", "\u2028"],
  ["half a character", "\ud83d"],
];

for (const [what, char] of MISLEADING) {
  Deno.test(`${what} is replaced where text is shown`, () => equal(printable(`a${char}b`, 9), "a\ufffdb"));
}

Deno.test("text is shown as it is where it is short and harmless, and cut off where it is long", () => {
  for (const text of ["", "worker-1", "größer ✓ 😀", "978a225b3d7b40e9acd7ce9b62f68444"]) {
    equal(printable(text, 64), text);
  }
  deepEqual([printable("abc", 3), printable("abcd", 3)], ["abc", "abc…"]);
  equal(printableId("x".repeat(253)), "x".repeat(253));
  equal(printableId("x".repeat(10_000)), `${"x".repeat(253)}…`);
});

Deno.test("what is shown is bounded and holds no misleading character, whatever the text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.nat(20), (text, max) => {
    const shown = printable(text, max);
    ok(shown.length <= max + 1 && shown.isWellFormed() && shown.search(UNPRINTABLE) < 0);
  }));
});

/** Each sentence in each of its forms. */
const SENTENCES: [what: string, told: string, sentence: string][] = [
  ["no slot", describeHolders([], 0, GROUP, NOW), 'group "workers" has no reboot slot now'],
  [
    "the one slot, held by a host with a node",
    describeHolders([held("0123456789abcdef", NOW - 60_000, "worker-1")], 1, GROUP, NOW),
    'reboot slot of group "workers" is held by node "worker-1" since 2026-01-01T11:59:00Z (1 min)',
  ],
  [
    "one of several slots, held by a host without a node, whose id is not shown whole",
    describeHolders([held("0123456789abcdef", NOW + 5_000)], 2, GROUP, NOW),
    'all 2 reboot slots of group "workers" are held by 01234567… since 2026-01-01T12:00:05Z (0 s)',
  ],
  [
    "more holders than slots",
    describeHolders([held("ab", NOW), held("cdef", NOW)], 1, GROUP, NOW),
    '2 clients hold a reboot slot of group "workers", which has only 1 now: a… since 2026-01-01T12:00:00Z (0 s) and ' +
    "cd… since 2026-01-01T12:00:00Z (0 s)",
  ],
  [
    "more holders than a sentence names, and than slots",
    describeHolders(["ab", "cd", "ef", "gh"].map((id) => held(id, NaN)), 2, GROUP, NOW),
    '4 clients hold a reboot slot of group "workers", which has only 2 now: a…, c…, e… and 1 other',
  ],
  [
    "a holder in a group without slots",
    describeHolders([held("ab", NaN)], 0, GROUP, NOW),
    '1 client holds a reboot slot of group "workers", which has none now: a…',
  ],
  [
    "more holders than a sentence names, with the latest time that a date can have and later ones",
    describeHolders(
      [held("ab", 8.64e15), held("cd", 8.64e15 + 1), held("ef", NaN), held("gh", NOW)],
      4,
      GROUP,
      8.64e15,
    ),
    'all 4 reboot slots of group "workers" are held by a… since +275760-09-13T00:00:00Z (0 s), c…, e… and 1 other',
  ],
  [
    "a host that has yielded",
    describeDeferral({ node: "worker-1", until: NOW, count: 1, pods: [] }),
    'node "worker-1" could not be drained in time: others come first until 2026-01-01T12:00:00Z',
  ],
  [
    "a host that has yielded again",
    describeDeferral({ node: "worker-1", until: NOW, count: 3, pods: ["web/a: its budget"] }),
    'node "worker-1" could not be drained in time 3 times in a row, because of web/a: its budget: others come first ' +
    "until 2026-01-01T12:00:00Z",
  ],
  [
    "more pods than a sentence names",
    describeDeferral({ node: "n", until: NOW, count: 1, pods: [..."abcdefg"] }),
    'node "n" could not be drained in time, because of a, b, c, d, e and 2 others: others come first until ' +
    "2026-01-01T12:00:00Z",
  ],
  ["a pause", describePause({}, GROUP), 'group "workers" is paused'],
  [
    "a pause of which everything is known",
    describePause({ reason: "a fire", by: "ops", until: NOW, drains: true }, GROUP),
    'group "workers" is paused by ops until 2026-01-01T12:00:00Z: a fire',
  ],
  ["a pause with a reason", describePause({ reason: "a fire" }, GROUP), 'group "workers" is paused: a fire'],
  ["a pause by somebody", describePause({ by: "ops" }, GROUP), 'group "workers" is paused by ops'],
  ["a drain", describeDrain("n", []), 'node "n" is being drained'],
  [
    "a drain that waits for a pod",
    describeDrain("n", [pod("a")]),
    'node "n" is being drained: 1 pod is left: web/a (it shuts down)',
  ],
  [
    "a drain that waits for something else",
    describeDrain("n", [], "it was uncordoned"),
    'node "n" is being drained: it was uncordoned',
  ],
  [
    "a drain that failed, with two pods",
    describeFailedDrain("n", [pod("a"), pod("b", "it is stuck")], "time is up"),
    'node "n" could not be drained, because time is up: 2 pods are left: web/a (it shuts down) and web/b (it is stuck)',
  ],
  ["a drain that failed", describeFailedDrain("n", []), 'node "n" could not be drained'],
  [
    "an id of several nodes",
    describeAmbiguity([..."abcdef"]),
    'several nodes have this client\'s id: "a", "b", "c", "d", "e" and 1 other',
  ],
];

for (const [what, told, sentence] of SENTENCES) {
  Deno.test(`the sentence about ${what}`, () => equal(told, sentence));
}

Deno.test("names and reasons of others are shown up to a length, and without misleading characters", () => {
  equal(printableReason("x".repeat(999)), `${"x".repeat(500)}…`);
  equal(describeDrain("n".repeat(300), []), `node "${"n".repeat(253)}…" is being drained`);
  equal(describePause({ reason: "a\nb", by: "c\nd" }, GROUP), 'group "workers" is paused by c\ufffdd: a\ufffdb');
});
