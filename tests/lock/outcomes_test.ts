import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { ClientId } from "../../src/lock/identity.ts";
import { parseGroup } from "../../src/lock/identity.ts";
import { describeRefusal, type Refusal, type RefusalKind, REFUSALS, refusedFor } from "../../src/lock/outcomes.ts";
import { type Reason, REASON_KINDS } from "../../src/lock/policy.ts";
import { UNPRINTABLE } from "../../src/lock/wording.ts";

const NOW = Date.UTC(2026, 10, 22, 22, 12, 30);
const GROUP = parseGroup("default")!;
const ID = "978a225b3d7b40e9acd7ce9b62f68444" as ClientId;

const holder = (id: string, minutes: number) => ({ id: id as ClientId, since: NOW - minutes * 60_000 });
const pod = (n: number) => ({ namespace: "web", name: `p${n}`, reason: "it ends" });

const SENTENCES: [refusal: Refusal, sentence: string][] = [
  [
    { kind: "lock_held", slots: 1, holders: [holder(ID, 12.5)] },
    `reboot slot of group "default" is held by 978a225b… since 2026-11-22T22:00:00Z (12 min)`,
  ],
  [
    { kind: "lock_held", slots: 2, holders: [holder("aa-1", 60), holder("bb", 1)] },
    'all 2 reboot slots of group "default" are held by aa… since 2026-11-22T21:12:30Z (1 h) ' +
    "and b… since 2026-11-22T22:11:30Z (1 min)",
  ],
  [
    { kind: "lock_held", slots: 4, holders: ["a1", "b1", "c1", "d1"].map((id) => holder(id, 0)) },
    'all 4 reboot slots of group "default" are held by a… since 2026-11-22T22:12:30Z (0 s), ' +
    "b… since 2026-11-22T22:12:30Z (0 s), c… since 2026-11-22T22:12:30Z (0 s) and 1 other",
  ],
  [
    { kind: "lock_held", slots: 1, holders: [{ id: ID, since: NaN }] },
    'reboot slot of group "default" is held by 978a225b…',
  ],
  [
    {
      kind: "lock_held",
      slots: 1,
      holders: [{ ...holder(ID, 1), node: { name: "worker-1", uid: "u", bootId: "b", phase: "draining" } }],
    },
    'reboot slot of group "default" is held by node "worker-1" since 2026-11-22T22:11:30Z (1 min)',
  ],
  [
    { kind: "contended" },
    'the reboot slots of group "default" kept changing during this request: try again',
  ],
  [
    { kind: "too_many_groups", limit: 64 },
    'group "default" is new, and the limit of 64 groups has been reached',
  ],
  [{ kind: "node_ambiguous", nodes: ["n1", "n2"] }, 'several nodes have this client\'s id: "n1" and "n2"'],
  [
    { kind: "node_ambiguous", nodes: ["n1", "n2", "n2"] },
    'several nodes have this client\'s id: "n1" and "n2" (2 nodes of that name, one created after the other)',
  ],
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
    { kind: "lock_ending", object: "Lease default/fleetlock-x", finalizers: ["a.example/one", "b.example/two"] },
    "Lease default/fleetlock-x is being deleted and waits for its finalizers: a.example/one and b.example/two",
  ],
  [
    { kind: "lock_ending", object: "Lease default/fleetlock-x", finalizers: [] },
    "Lease default/fleetlock-x is being deleted",
  ],
  [
    { kind: "write_altered" },
    'the store changed the record of group "default" while it was written: look for an admission webhook',
  ],
  [
    { kind: "drain_refused", node: "n1", pods: [pod(1)] },
    'node "n1" may not be drained: 1 pod is left: web/p1 (it ends)',
  ],
  [
    { kind: "permission_missing", permission: "create pods/eviction" },
    "the server may not create pods/eviction, which a drain needs: grant it",
  ],
  [
    { kind: "hold_unreadable" },
    'the record of this client\'s hold in group "default" names a node in an unknown form: free the slot by hand',
  ],
  [
    { kind: "node_not_ready", node: "n1", reason: "it has not rebooted" },
    'node "n1" is not ready yet: it has not rebooted',
  ],
  ...REASON_KINDS.map((kind): [Refusal, string] => [
    {
      kind,
      reasons: [{ kind, rule: "a", sentence: `${kind} until noon` }, { kind: "paused", rule: "b", sentence: "no" }],
    },
    `${kind} until noon`,
  ]),
];

for (const [refusal, sentence] of SENTENCES) {
  Deno.test(`a refusal says: ${sentence.slice(0, 90)}`, () => {
    equal(describeRefusal(refusal, GROUP, NOW), sentence);
  });
}

/**
 * Text as somebody could write it into an object by hand: it colours a terminal, turns its text around, and is long.
 */
const HOSTILE = `\x1b[31m\u202e\u009b\n${"x".repeat(10_000)}`;

const ECHOES: Refusal[] = [
  { kind: "lock_held", slots: 2, holders: [holder(HOSTILE, 1), { ...holder(HOSTILE, 1), since: NaN }] },
  { kind: "node_ambiguous", nodes: [HOSTILE, HOSTILE] },
  { kind: "lock_ending", object: HOSTILE, finalizers: [HOSTILE] },
  { kind: "drain_refused", node: HOSTILE, pods: [{ namespace: HOSTILE, name: HOSTILE, reason: HOSTILE }] },
  { kind: "draining", node: HOSTILE, pods: [{ namespace: HOSTILE, name: HOSTILE, reason: HOSTILE }] },
  { kind: "drain_failed", node: HOSTILE, pods: [{ namespace: HOSTILE, name: HOSTILE, reason: HOSTILE }] },
  { kind: "permission_missing", permission: HOSTILE },
  { kind: "node_not_ready", node: HOSTILE, reason: HOSTILE },
  ...REASON_KINDS.map((kind): Refusal => ({ kind, reasons: [{ kind, rule: "a", sentence: HOSTILE }] })),
];

/** The kinds whose sentences contain nothing but what this program has checked. */
const CHECKED: Refusal["kind"][] = ["contended", "too_many_groups", "write_altered", "hold_unreadable"];

for (const refusal of ECHOES) {
  Deno.test(`a refusal as ${refusal.kind} shows nothing that a terminal would obey, and not all of a long text`, () => {
    const sentence = describeRefusal(refusal, GROUP, NOW);
    match(sentence, /\ufffd\[31m/);
    equal(sentence.search(UNPRINTABLE), -1);
    ok(sentence.length < 2_000, `${sentence.length} characters`);
  });
}

Deno.test("every kind of refusal is in one of the two tables above", () => {
  const kinds = [...ECHOES.map(({ kind }) => kind), ...CHECKED];
  deepEqual(kinds.toSorted(), Object.keys(REFUSALS).toSorted());
});

Deno.test("every kind of refusal has a sentence in the table above", () => {
  const kinds = new Set(SENTENCES.map(([refusal]) => refusal.kind));
  for (const kind of Object.keys(REFUSALS) as Refusal["kind"][]) ok(kinds.has(kind), kind);
});

Deno.test("each operation is refused for its own reasons: a grant for most, a release for what concerns it", () => {
  const kinds = Object.keys(REFUSALS) as RefusalKind[];
  const both: RefusalKind[] = ["contended", "write_altered"];
  for (const kind of kinds) {
    const { endpoints, status } = REFUSALS[kind];
    const expected = both.includes(kind)
      ? ["pre-reboot", "steady-state"]
      : [kind === "node_not_ready" ? "steady-state" : "pre-reboot"];
    deepEqual([kind, ...endpoints], [kind, ...expected]);
    equal(status, kind === "too_many_groups" ? 429 : 423, kind);
  }
});

Deno.test("policies refuse with all of their reasons, and all who are refused for one list share the refusal", () => {
  const reasons: Reason[] = [
    { kind: "frozen", rule: "freeze", sentence: "a freeze", until: NOW },
    { kind: "paused", rule: "paused", sentence: "a pause" },
  ];
  equal(refusedFor([]), undefined);
  const refused = refusedFor(reasons);
  deepEqual(refused, { kind: "refused", refusal: { kind: "frozen", reasons } });
  equal(refusedFor(reasons), refused);
  const other = refusedFor([...reasons]);
  deepEqual(other, refused);
  equal(other === refused, false, "another list may change");
});
