/**
 * What is reported about nodes and cordons: each report to each target, whether or not the others are there. @module
 */

import { deepEqual, doesNotThrow } from "node:assert/strict";
import { NodeReports } from "../../src/keeper/node_reports.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { recordingTargets } from "./recording_targets.ts";

const OWNER = { namespace: "ops", group: parseGroup("web")!, id: parseClientId("alice")!, since: 1 };
const NOTED = { name: "a", uid: "1", phase: "drained" } as const;
const HOLD = { node: "a", group: "web", id: "alice" };
const ERROR = new Error("away");
const LONG = "x".repeat(300);
const UNCORDON = "uncordon the node and remove the annotation fleetlock.internal/cordoned-for";

/** What the watch of the nodes tells, where two have a malformed machine-id. */
const listenerOf = (reports: NodeReports) => reports.nodeListener(() => 2, { changed() {}, missed() {} });

/** Each report, and what it tells in what order. */
const REPORTS: [what: string, report: (reports: NodeReports) => void, told: unknown[]][] = [
  ["a cordon that is lifted for a client that is back", (reports) => reports.uncordoned("a", OWNER), [
    ["info", "uncordoned the node", HOLD],
    ["event", "Node a", "Uncordoned", "Uncordoned: alice in group web is back", false],
  ]],
  ["a stale cordon that is lifted", (reports) => reports.staleCordonLifted("a", OWNER), [
    ["repaired"],
    ["warning", "lifted a stale cordon: its client holds no slot", HOLD],
    ["event", "Node a", "Uncordoned", "Uncordoned: alice in group web no longer holds its slot", false],
  ]],
  ["a cordon that is lifted right after its hold", (reports) => reports.endedCordonLifted("a", OWNER), [
    ["repaired"],
    ["info", "uncordoned the node: its hold has just ended", HOLD],
    ["event", "Node a", "Uncordoned", "Uncordoned: alice in group web no longer holds its slot", false],
  ]],
  ["an annotation that is removed from a cordoned node", (reports) => reports.annotationRemoved("a", true), [
    ["info", "removed our stale annotation from a node: others uncordoned it and cordoned it again", { node: "a" }],
  ]],
  ["an annotation that is removed from an uncordoned node", (reports) => reports.annotationRemoved("a", false), [
    ["info", "removed our stale annotation from a node that was already uncordoned", { node: "a" }],
  ]],
  ["a cordon that could not be checked", (reports) => reports.repairFailed("a", ERROR), [
    ["warning", "cannot check the cordon of a node", { node: "a", error: ERROR }],
  ]],
  ["a cordon that cannot be read, of which it repeats only a part", (reports) => reports.unreadableCordon("a", LONG), [
    ["warning", "the annotation of a cordon cannot be read, so the cordon stays", {
      node: "a",
      annotation: LONG.slice(0, 200),
      hint: `if nobody needs the cordon, ${UNCORDON}`,
    }],
  ]],
  ["a cordon of another installation", (reports) => reports.cordonOfOtherNamespace("a", "else", "ops"), [
    ["warning", "a node is cordoned for locks in another namespace", {
      node: "a",
      namespace: "else",
      ours: "ops",
      hint: `if no fleetlock uses that namespace any more, ${UNCORDON}`,
    }],
  ]],
  ["a host without its node whose slot is freed", (reports) => reports.notBack({ ...OWNER, node: NOTED }), [
    ["warning", "the node of the host has not come back: its slot is freed", HOLD],
  ]],
  ["a skip that is used up, of whose rules the Event repeats only a part", (reports) => reports.skipUsed("a", LONG), [
    ["info", "the skip annotation of a node is removed: it counts for one grant", { node: "a", rules: LONG }],
    ["event", "Node a", "SkipUsed", `Removed the annotation fleetlock.internal/skip: ${LONG.slice(0, 200)}`, false],
  ]],
  ["a skip that could not be removed", (reports) => reports.skipStays("a", ERROR), [
    ["error", "cannot remove the skip annotation of a node", {
      node: "a",
      error: ERROR,
      hint: "remove the annotation fleetlock.internal/skip: it lets the node pass rules once more",
    }],
    [
      "event",
      "Node a",
      "SkipStays",
      "Cannot remove the annotation fleetlock.internal/skip, which lets the Node pass rules once more",
      true,
    ],
  ]],
  ["nodes that share an id", (reports) => listenerOf(reports).shared?.("alice", ["a", "b"]), [
    ["warning", "several nodes have the same id: give each host a machine-id of its own", {
      id: "alice",
      nodes: ["a", "b"],
    }],
  ]],
  ["nodes that share the id of a client that asks", (reports) => reports.ambiguous(OWNER.id, ["a", "b"]), [
    ["error", "several nodes have the same id: none of them may reboot", { id: "alice", nodes: ["a", "b"] }],
  ]],
  ["a node whose machine-id is malformed", (reports) => listenerOf(reports).malformed?.("a"), [
    ["malformedNodes", 2],
    ["warning", "the machine-id of a node is malformed: it has no id that Zincati would send", { node: "a" }],
  ]],
  ["a watch that is in step", (reports) => listenerOf(reports).synced?.(), [["nodesSynced", true], [
    "malformedNodes",
    2,
  ]]],
  ["a watch that is behind", (reports) => listenerOf(reports).lost?.(ERROR), [
    ["nodesSynced", false],
    ["malformedNodes", 2],
    ["warning", "the watch of the nodes is behind", { error: ERROR }],
  ]],
  ["a permission that is missing", (reports) => reports.forbidden(ERROR), [
    ["warning", "an optional permission is missing", { error: ERROR }],
  ]],
];

for (const [what, report, expected] of REPORTS) {
  Deno.test(`what is reported about nodes: ${what}`, () => {
    const { targets, told } = recordingTargets();
    report(new NodeReports(targets));
    deepEqual(told, expected);
    // Each target is optional, and so is each number.
    doesNotThrow(() => report(new NodeReports({})));
    doesNotThrow(() => report(new NodeReports({ observer: {} })));
  });
}

/** The reports that are told once for each value of what they name. */
const ONCE: [what: string, report: (reports: NodeReports, one: string) => void][] = [
  ["of each node", (reports, one) => reports.unreadableCordon(one, "x")],
  ["of each annotation", (reports, one) => reports.unreadableCordon("a", one)],
  ["of each node of another namespace", (reports, one) => reports.cordonOfOtherNamespace(one, "else", "ops")],
  ["of each other namespace", (reports, one) => reports.cordonOfOtherNamespace("a", one, "ops")],
  ["of each permission", (reports, one) => reports.forbidden(new Error(one))],
];

for (const [what, report] of ONCE) {
  Deno.test(`what is told once is told once ${what}, and what is remembered of that is bounded`, () => {
    const { targets, told } = recordingTargets();
    const reports = new NodeReports(targets);
    const tell = (one: string) => {
      const before = told.length;
      report(reports, one);
      return told.length - before;
    };
    deepEqual([tell("0"), tell("0"), tell("1"), tell("0"), tell("1")], [1, 0, 1, 0, 0]);
    for (let one = 2; one < 1_000; one++) tell(`${one}`);
    deepEqual([tell("0"), tell("999")], [0, 0]);
    // One more than is remembered.
    deepEqual([tell("1000"), tell("1000"), tell("0")], [1, 0, 1]);
  });
}

Deno.test("reports of different kinds about the same names are different things", () => {
  const { targets, told } = recordingTargets();
  const reports = new NodeReports(targets);
  reports.unreadableCordon("a", "x");
  reports.cordonOfOtherNamespace("a", "x", "ops");
  deepEqual(told.length, 2);
});
