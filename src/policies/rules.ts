/**
 * The rules, one function each: what speaks against a grant now, by a snapshot.
 * They are pure, and each knows only its own reason.
 *
 * @module
 */

import { pauseAt } from "../lock/group_notes.ts";
import { describeDeferral, describePause, listSome, printableReason } from "../lock/wording.ts";
import type { Reason, ReasonKind } from "../lock/policy.ts";
import { describeMoment } from "./local_time.ts";
import { describeNodes, slotsOf } from "./nodes.ts";
import type { RuleName } from "./skips.ts";
import { type Alarm, type Gathered, knownOf, type Snapshot } from "./snapshot.ts";

/** One rule. */
export interface Rule {
  /** Its key in the configuration file, or the name of what it obeys. */
  readonly name: RuleName;
  /** Says what speaks against a grant; undefined where nothing does. */
  readonly judge: (snapshot: Snapshot) => Finding | undefined;
}

/** A reason without the name of its rule. */
export type Finding = Omit<Reason, "rule">;

/** The `settle` from which on whole minutes are exact enough for its end, in milliseconds. */
const SECONDS_COUNT_MS = 600_000;

/**
 * Every rule, in the order in which their reasons are told where several last equally long: first what a person has
 * ordered, then the calendar, then what heals by itself.
 */
export const RULES: readonly Rule[] = [
  { name: "allowUnknownGroups", judge: unknownGroup },
  { name: "paused", judge: paused },
  { name: "hold", judge: onHold },
  { name: "freeze", judge: frozen },
  { name: "allow", judge: outsideWindow },
  { name: "deferred", judge: deferred },
  { name: "settle", judge: settling },
  { name: "slots", judge: uncountable },
  { name: "unavailable", judge: unavailable },
  { name: "health.notReady", judge: notReady },
  { name: "health.blockingPods", judge: blockingPods },
  { name: "health.budgets", judge: budgets },
  { name: "health.prometheus", judge: prometheus },
  { name: "health.alertmanager", judge: alertmanager },
];

/** Asks every rule. @returns The reasons, the one that lasts longest first. */
export function reasonsOf(snapshot: Snapshot): Reason[] {
  const found = RULES.flatMap(({ name, judge }) => {
    const finding = judge(snapshot);
    return finding === undefined ? [] : [{ ...finding, rule: name }];
  });
  const end = ({ until }: Reason) => until ?? Infinity;
  return found.toSorted((one, other) => end(one) === end(other) ? 0 : end(other) - end(one));
}

function unknownGroup({ question, isNamed, allowUnknownGroups }: Snapshot): Finding | undefined {
  if (isNamed || allowUnknownGroups) return undefined;
  return { kind: "unknown_group", sentence: `the configuration file does not name the group "${question.group}"` };
}

function paused({ question: { group, state }, now }: Snapshot): Finding | undefined {
  const pause = pauseAt(state.notes, now);
  return pause && { kind: "paused", until: pause.until, sentence: describePause(pause, group) };
}

function onHold({ asking }: Snapshot): Finding | undefined {
  switch (asking.kind) {
    case "not_asked":
      return undefined;
    case "failed": {
      const sentence = `nobody knows whether the node is on hold: ${printableReason(asking.reason)}`;
      return { kind: "node_on_hold", sentence };
    }
    case "known": {
      const held = asking.value.find(({ hold }) => hold !== undefined);
      if (held === undefined) return undefined;
      const why = held.hold!.trim() === "" ? "" : `: ${printableReason(held.hold!)}`;
      return { kind: "node_on_hold", sentence: `node "${held.name}" is on hold${why}` };
    }
  }
}

function frozen({ question, calendar, timeZone, now }: Snapshot): Finding | undefined {
  if (calendar.frozen === undefined) return undefined;
  const { from, until, reason } = calendar.frozen;
  const why = reason === undefined ? "" : ` (${printableReason(reason)})`;
  const which = from > now
    ? `group "${question.group}" has no time left for a drain before its freeze from ${describeMoment(from, timeZone)}`
    : `group "${question.group}" is frozen`;
  return { kind: "frozen", until, sentence: `${which} until ${describeMoment(until, timeZone)}${why}` };
}

function outsideWindow(snapshot: Snapshot): Finding | undefined {
  const { question, calendar, timeZone, isTimeFresh, options } = snapshot;
  if (calendar.outside !== undefined) {
    const next = calendar.next === undefined
      ? "it does not open within a year"
      : `it opens at ${describeMoment(calendar.next, timeZone)}`;
    const sentence = `group "${question.group}" is outside its maintenance windows: ${next}`;
    return { kind: "outside_window", until: calendar.outside.until ?? calendar.next, sentence };
  }
  if (isTimeFresh || options.allow.length === 0 && options.freeze.length === 0) return undefined;
  return undecided("the time is not known well enough to tell whether a maintenance window is open");
}

function deferred({ question, now }: Snapshot): Finding | undefined {
  const deferral = question.state.notes?.deferred?.find(({ id }) => id === question.id);
  if (deferral === undefined || deferral.until <= now) return undefined;
  return { kind: "deferred", until: deferral.until, sentence: describeDeferral(deferral) };
}

function settling({ question, options, returned, now, timeZone }: Snapshot): Finding | undefined {
  if (options.settleMs === 0 || returned === undefined) return undefined;
  const until = returned + options.settleMs;
  if (until <= now) return undefined;
  const end = describeMoment(until, timeZone, options.settleMs < SECONDS_COUNT_MS ? "second" : "minute");
  const sentence = `group "${question.group}" settles after the reboot of a host until ${end}`;
  return { kind: "settling", until, sentence };
}

/** A share of nodes that nobody can count. */
function uncountable({ options, nodes }: Snapshot): Finding | undefined {
  if (options.slots.kind !== "percent" || nodes.kind === "known") return undefined;
  return undecided(`the nodes of the group cannot be counted: ${whyUnknown(nodes)}`);
}

function unavailable(snapshot: Snapshot): Finding | undefined {
  const { options, nodes, asking, question } = snapshot;
  if (options.unavailable !== "count") return undefined;
  if (nodes.kind !== "known") {
    return undecided(`the unavailable nodes of the group cannot be counted: ${whyUnknown(nodes)}`);
  }
  const missing = nodes.value.unavailable(question, knownOf(asking));
  const slots = slotsOf(options, nodes);
  if (missing.count === 0 || question.state.holders.length + missing.count < slots) return undefined;
  const sentence = `nodes that are unavailable take ${missing.count} of the ${slots} reboot slots of group ` +
    `"${question.group}": ${describeNodes(missing)}`;
  return { kind: "fleet_unhealthy", sentence };
}

function notReady({ options, nodes, asking, question }: Snapshot): Finding | undefined {
  const { notReady: limit } = options.health;
  if (limit === undefined) return undefined;
  if (nodes.kind !== "known") return undecided(`the nodes of the group cannot be counted: ${whyUnknown(nodes)}`);
  const sick = nodes.value.unready(question, knownOf(asking));
  const most = limit.kind === "number" ? limit.value : Math.floor(nodes.value.count * limit.value / 100);
  if (sick.count <= most) return undefined;
  const { group } = question;
  const subject = sick.count === 1 ? `1 node of group "${group}" is` : `${sick.count} nodes of group "${group}" are`;
  const sentence = `${subject} not ready and at most ${most} may be: ${describeNodes(sick)}`;
  return { kind: "fleet_unhealthy", sentence };
}

function blockingPods({ options, health }: Snapshot): Finding | undefined {
  if (options.health.blockingPods === undefined) return undefined;
  return fromFacts(health.blockingPods, "the pods of the node", (pods) => ({
    kind: "pods_blocking",
    sentence: `pods that block a reboot run on the node: ${listSome(pods.map(printableReason))}`,
  }));
}

function budgets({ options, health }: Snapshot): Finding | undefined {
  if (options.health.budgets === undefined) return undefined;
  return fromFacts(health.budgets, "the budgets of the node's pods", (refusals) => ({
    kind: "budget_exhausted",
    sentence: `pods of the node cannot be evicted now: ${listSome(refusals.map(printableReason))}`,
  }));
}

function prometheus({ options, health }: Snapshot): Finding | undefined {
  const source = options.health.prometheus;
  if (source === undefined) return undefined;
  return fromFacts(health.prometheus, "Prometheus", alarmed("queries"), source.onError === "allow");
}

function alertmanager({ options, health }: Snapshot): Finding | undefined {
  const source = options.health.alertmanager;
  if (source === undefined) return undefined;
  return fromFacts(health.alertmanager, "Alertmanager", alarmed("alerts"), source.onError === "allow");
}

function alarmed(what: string): (alarms: readonly Alarm[]) => Finding {
  return (alarms) => ({
    kind: "fleet_unhealthy",
    sentence: `${what} speak against a reboot: ${
      listSome(alarms.map(({ name, detail }) => printableReason(`${name} (${detail})`)))
    }`,
  });
}

/** The reason of facts of which every entry speaks against a grant. Facts that nobody has asked for say nothing yet. */
function fromFacts<T>(
  facts: Gathered<readonly T[]>,
  source: string,
  describe: (entries: readonly T[]) => Finding,
  isErrorAllowed = false,
): Finding | undefined {
  switch (facts.kind) {
    case "known":
      return facts.value.length === 0 ? undefined : describe(facts.value);
    case "not_asked":
      return undefined;
    case "failed":
      return isErrorAllowed ? undefined : undecided(`${source} cannot be asked: ${printableReason(facts.reason)}`);
  }
}

function undecided(sentence: string): Finding {
  return { kind: "policy_undecided" satisfies ReasonKind, sentence };
}

function whyUnknown(facts: Gathered<unknown>): string {
  return facts.kind === "failed" ? printableReason(facts.reason) : "nobody has asked for them yet";
}
