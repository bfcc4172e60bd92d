/**
 * Says whether a client would be granted a slot now: every reason against it, when
 * that could change, and the one command that would change it. What nobody was
 * asked is unknown, never guessed. Pure.
 *
 * @module
 */

import { isId128 } from "../lock/identity.ts";
import { printable, startOfId } from "../lock/wording.ts";
import { passesOf, SKIP_NAMES, skipNames, unknownSkips } from "../policies/skips.ts";
import type { HolderAccount, PassedOver, ReasonAccount, RefusedAccount, UnaskedRule } from "../status/account.ts";
import { type Advice, adviceForHolder } from "./advice.ts";
import type { ClientFacts } from "./client_facts.ts";
import { findShown, type FoundShown, type NamedClient } from "./clients.ts";
import { commandLine, shellWord } from "./command_line.ts";
import { HOLD_ANNOTATION, SKIP_ANNOTATION } from "./node_holds.ts";
import type { GroupOverview, Overview } from "./overview.ts";

/** How many unknown names of a skip a note repeats. */
const SKIPS_NAMED = 5;

/** The answer. All of it is JSON. */
export interface Explanation {
  /** The group. */
  readonly group: string;
  /** The client: its Node, or the start of its id. */
  readonly client: string;
  /**
   * Whether it holds a slot, would get one, or not. `unknown` where nothing that is known speaks against it, and what
   * `unknown` lists may.
   */
  readonly verdict: "holds" | "granted" | "refused" | "unknown";
  /** Its hold, where it has one. */
  readonly holder?: HolderAccount;
  /** Every reason against a grant now. */
  readonly reasons: readonly ReasonAccount[];
  /** When all reasons could have ended by themselves, RFC 3339; undefined where nobody can know. */
  readonly next?: string;
  /** How a server refused it last. */
  readonly lastRefusal?: RefusedAccount;
  /** What would change the answer; undefined where nothing need change, or time alone does it. */
  readonly command?: Advice;
  /** What is not known, one sentence each, with what would tell. */
  readonly unknown: readonly string[];
  /** What is worth knowing and changes nothing, one sentence each. */
  readonly notes: readonly string[];
}

/** Combines what the servers say of a group with what concerns the client. */
export function explain(overview: Overview, group: string, facts: ClientFacts): Explanation {
  const found = overview.groups.find(({ name }) => name === group);
  const { client } = facts;
  const hold = holdOf(found, facts, group);
  const refusal = findShown(found?.waiting ?? [], group, client);
  const lastRefusal = refusal.kind === "one" ? refusal.value : undefined;
  const notes = [
    ...facts.notes,
    ...noteOfHoldWithoutEffect(overview, facts),
    ...noteOfUnknownSkips(overview, facts),
    ...passedOverOf(found),
  ];
  const shared = { group, client: nameOfClient(client), notes, ...(lastRefusal && { lastRefusal }) };
  if (hold.kind === "one") {
    const holder = hold.value;
    const command = holder.isStuck ? adviceForHolder(group, holder) : undefined;
    return { ...shared, verdict: "holds", holder, reasons: [], unknown: overview.unknown, ...(command && { command }) };
  }
  const { reasons, unsure } = partReasons(reasonsOf(found, facts, overview.drains), facts);
  const unknown = [
    ...overview.unknown,
    ...facts.unknown,
    ...unknownHold(hold),
    ...unknownNodes(overview, facts),
    ...unknownGroup(overview, found, group),
    ...unknownSlots(found),
    ...unaskedOf(found, facts, overview.drains),
    ...unsure,
  ];
  const verdict = reasons.length > 0 ? "refused" : unknown.length === 0 ? "granted" : "unknown";
  const next = nextTime(reasons, found);
  const command = adviceForReasons(group, facts, reasons, found, overview.drains);
  return { ...shared, verdict, reasons, unknown, ...(next !== undefined && { next }), ...(command && { command }) };
}

/** Names the client for a person. A whole id is not shown, since others may look at the screen. */
function nameOfClient({ name, node, ids }: NamedClient): string {
  return node ?? (isId128(name) || ids.includes(name) ? startOfId(name) : printable(name, 64));
}

/** The client's hold. A fresh read of the store has the last word; an account says more of the same hold. */
function holdOf(
  found: GroupOverview | undefined,
  { client, held }: ClientFacts,
  group: string,
): FoundShown<HolderAccount> {
  if (held === null) return { kind: "none" };
  const holders = found?.holders ?? [];
  if (held === undefined) return findShown(holders, group, client);
  const seen = holders.find(({ hash, id, since }) => hash === held.hash && id === held.id && since === held.since);
  return { kind: "one", value: seen ?? held };
}

function unknownHold(hold: FoundShown<HolderAccount>): string[] {
  switch (hold.kind) {
    case "one":
    case "none":
      return [];
    case "several":
      return [`which client is meant: ${hold.count} holders have an id that begins so; give more of the id, or a node`];
    case "unsure": {
      const starts = hold.values.map(({ id }) => id).join(", ");
      return [`whether it holds a slot already: ${starts} may be the start of its id; give the whole id, or a node`];
    }
  }
}

/** The reasons against anybody, and those against this client, without those that its node may pass. */
function reasonsOf(found: GroupOverview | undefined, facts: ClientFacts, drains?: boolean): ReasonAccount[] {
  // Servers that drain no nodes read none: what stands on a node has no effect, and no id is ambiguous.
  const own = facts.reasons.filter(({ kind }) =>
    drains !== false || (kind !== "node_on_hold" && kind !== "node_ambiguous")
  );
  const passes = passOf(facts, drains);
  const known = new Set(own.map(({ kind }) => kind));
  const blocks = (found?.blocks ?? storedBlocks(found)).filter((one) => !known.has(one.kind));
  return [...own, ...blocks].filter(({ rule }) => rule === undefined || !passes(rule));
}

/** The rules that count Nodes, for anybody but the one whose Node it is. */
const COUNT_NODES: readonly (string | undefined)[] = ["unavailable", "health.notReady"];

/** A server says what speaks against anybody. The rules that count Nodes leave out the Node of the host that asks. */
function partReasons(all: readonly ReasonAccount[], { isUnavailable = false }: ClientFacts) {
  const mayCountIt = ({ rule }: ReasonAccount) => isUnavailable && COUNT_NODES.includes(rule);
  return {
    reasons: all.filter((reason) => !mayCountIt(reason)),
    unsure: all.filter(mayCountIt).map(({ rule, sentence }) =>
      `whether the rule ${rule} is against it, which does not count the client's own node: it says to others: ${sentence}`
    ),
  };
}

/** Makes the test whether the client's node may pass a rule, as the servers do it. */
function passOf({ skips = "" }: ClientFacts, drains: boolean | undefined): (rule: string) => boolean {
  return passesOf(drains === false ? "" : skips);
}

/** Says which rules do not speak because of `onError: allow`, which would otherwise look as if all were well. */
function passedOverOf(found: GroupOverview | undefined): string[] {
  return (found?.passedOver ?? []).map(describePassedOver);
}

/** Says that a rule lets grants go on because its monitor cannot be asked, one sentence without a full stop. */
export function describePassedOver({ rule, reason }: PassedOver): string {
  return `the rule ${printable(rule, 64)} lets grants go on (onError: allow): its monitor could not be asked last: ` +
    printable(reason, 500);
}

/** A skip that was misspelt does nothing, which nobody would notice. */
function noteOfUnknownSkips({ drains }: Overview, { skips = "", client }: ClientFacts): string[] {
  const unknown = drains === false ? [] : unknownSkips(skips);
  if (unknown.length === 0) return [];
  const shown = unknown.slice(0, SKIPS_NAMED).map((name) => `"${printable(name, 64)}"`).join(", ");
  const more = unknown.length > SKIPS_NAMED ? ` and ${unknown.length - SKIPS_NAMED} more` : "";
  return [
    `the annotation ${SKIP_ANNOTATION} of node "${client.node ?? client.name}" names ${shown}${more}, which ` +
    `${unknown.length === 1 ? "is not a rule and has" : "are not rules and have"} no effect: the names are ` +
    SKIP_NAMES.join(", "),
  ];
}

function noteOfHoldWithoutEffect({ drains }: Overview, { reasons, skips, client }: ClientFacts): string[] {
  if (drains !== false) return [];
  const annotations = [
    ...(reasons.some(({ kind }) => kind === "node_on_hold") ? [HOLD_ANNOTATION] : []),
    ...(skips === undefined ? [] : [SKIP_ANNOTATION]),
  ];
  return annotations.map((name) =>
    `the annotation ${name} of node "${client.node ?? client.name}" has no effect: the servers do not drain nodes ` +
    "(-drain=false), and so read none"
  );
}

function unknownNodes({ drains }: Overview, { isBlind, reasons }: ClientFacts): string[] {
  if (isBlind && drains !== false) {
    return [
      "whether its node is on hold or may skip rules, and whether several nodes have its id: a server does not show what " +
      "stands on nodes to whoever asks it; this command with a kubeconfig instead of --server tells, or kubectl describe " +
      "node",
    ];
  }
  if (drains !== undefined || !reasons.some(({ kind }) => kind === "node_on_hold")) return [];
  return ["whether the servers obey holds of nodes: they do not with -drain=false; the arguments of their pods tell"];
}

/** Servers have no account of a group that nobody has asked for. */
function unknownGroup({ drains }: Overview, found: GroupOverview | undefined, group: string): string[] {
  if (found !== undefined || drains === undefined) return [];
  return [
    `what the rules of group "${group}" say: nobody has asked for a slot of it yet, and allowUnknownGroups or a window ` +
    "may be against it; the configuration file tells, or the answer to its first request",
  ];
}

/** What tells what a rule says that is asked only when a host asks. */
const UNASKED: Readonly<Record<UnaskedRule, string>> = {
  "health.prometheus": "what Prometheus says (rule health.prometheus): run the queries of the rule to see it",
  "health.alertmanager": "what Alertmanager says (rule health.alertmanager): its page of active alerts tells",
  "health.blockingPods":
    "whether pods of the node block it (rule health.blockingPods): kubectl get pods -A -l with the " +
    "selector of the rule tells",
  "health.budgets":
    "whether budgets block it (rule health.budgets): kubectl get pdb -A tells which allow no disruption",
  "drain": "whether the drain would refuse pods of the node: fleetlock check lists the pods that it would refuse",
};

function unaskedOf(found: GroupOverview | undefined, facts: ClientFacts, drains: boolean | undefined): string[] {
  const passes = passOf(facts, drains);
  const blocking = new Set(found?.blocks?.map(({ rule }) => rule));
  const rules = (found?.unasked ?? []).filter((rule) => rule === "drain" || !passes(rule) && !blocking.has(rule));
  // Another program's version may know more.
  return rules.map((rule) => UNASKED[rule] ?? `what the rule ${printable(rule, 64)} says`);
}

/** What the store alone says against a grant: a pause. */
function storedBlocks(found: GroupOverview | undefined): ReasonAccount[] {
  if (found?.pause === undefined) return [];
  const { reason, until } = found.pause;
  const sentence = `group "${found.name}" is paused${reason === undefined ? "" : `: ${reason}`}`;
  return [{ kind: "paused", rule: "paused", sentence, ...(until !== undefined && { until }) }];
}

/** Where the number of slots is unknown, a holder may be in the way. */
function unknownSlots(found: GroupOverview | undefined): string[] {
  const { slots, holders = [] } = found ?? {};
  if (slots !== undefined || holders.length === 0) return [];
  const names = holders.map(({ id, node }) => node ?? id).join(", ");
  return [
    `whether a slot is free: ${names} ${
      holders.length === 1 ? "holds one" : "hold some"
    }, and a server knows how many there are`,
  ];
}

/** The latest end of all reasons, and not before the next window. */
function nextTime(reasons: readonly ReasonAccount[], found: GroupOverview | undefined): string | undefined {
  if (reasons.length === 0 || reasons.some(({ until }) => until === undefined)) return undefined;
  const times = [...reasons.map(({ until }) => until!), ...(found?.nextOpening ? [found.nextOpening] : [])];
  return times.toSorted((one, other) => Date.parse(other) - Date.parse(one))[0];
}

function adviceForReasons(
  group: string,
  { client, skips }: ClientFacts,
  reasons: readonly ReasonAccount[],
  found: GroupOverview | undefined,
  drains: boolean | undefined,
): Advice | undefined {
  const kinds = new Set(reasons.map(({ kind }) => kind));
  const name = client.node ?? client.name;
  if (kinds.has("node_ambiguous")) return { command: "kubectl get nodes", why: "to find and delete the stale node" };
  if (kinds.has("node_on_hold")) {
    return { command: commandLine("fleetlock unhold", name), why: "to let the node reboot" };
  }
  if (kinds.has("paused")) return { command: commandLine("fleetlock resume", group), why: "to lift the pause" };
  if (kinds.has("deferred")) {
    return { command: commandLine("fleetlock undefer", group, name), why: "to let it come again" };
  }
  const stuck = found?.holders.find((holder) => holder.isStuck);
  if (kinds.has("lock_held") && stuck !== undefined) return adviceForHolder(group, stuck);
  if (kinds.has("lock_ending")) {
    return { command: `kubectl describe leases`, why: "to see whose finalizers keep the Lease" };
  }
  // A skip lets a node pass rules, and nothing else that speaks against it.
  if (reasons.some(({ rule }) => rule === undefined)) return undefined;
  const rules = [...new Set(reasons.map(({ rule }) => rule!.split(".")[0]!))];
  if (rules.length === 0 || client.node === undefined || drains === false) return undefined;
  // What the annotation has now is needed too, since those rules are not among the reasons.
  const value = [...skipNames(skips ?? ""), ...rules].join(",");
  const overwrite = skips === undefined ? "" : " --overwrite";
  return {
    command: `kubectl annotate node ${shellWord(name)}${overwrite} ${SKIP_ANNOTATION}=${shellWord(value)}`,
    why: `to let this node pass the ${rules.length === 1 ? "rule" : "rules"} ${rules.join(" and ")} once`,
  };
}
