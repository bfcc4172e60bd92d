/**
 * Says whether a client would be granted a slot now: every reason against it, when
 * that could change, and the one command that would change it. It asks the store
 * and the Nodes where it can, and changes nothing.
 *
 * @module
 */

import { NodeCalls } from "../keeper/nodes/node_calls.ts";
import type { NodeView } from "../keeper/nodes/node.ts";
import { comparableId } from "../keeper/nodes/zincati_id.ts";
import { callOptions, valueOfStatus } from "../kubernetes/calls.ts";
import type { Group } from "../lock/identity.ts";
import { describeAmbiguity, describeDeferral, describeEndingLock, printable } from "../lock/wording.ts";
import type { HolderAccount, ReasonAccount, RefusedAccount } from "../status/account.ts";
import { findNamed, isShown, isStart } from "./clients.ts";
import { HOLD_ANNOTATION, SKIP_ANNOTATION } from "./node_holds.ts";
import type { GroupOverview, Overview } from "./overview.ts";
import type { Place } from "./place.ts";
import { timeText } from "../status/account_text.ts";

/** What is known of the client that a person names. */
export interface ExplainedClient {
  /** What the person typed. */
  readonly name: string;
  /** The name of its Node, where one is found. */
  readonly node?: string;
  /** The ids that it may have. They are not for printing. */
  readonly ids: readonly string[];
}

/** The answer. All of it is JSON. */
export interface Explanation {
  /** The group. */
  readonly group: string;
  /** The client: its Node, or the start of its id. */
  readonly client: string;
  /** Whether it holds a slot, would get one, or not; `unknown` where no server said what its rules say. */
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
  /** What is not known, one sentence each. */
  readonly unknown: readonly string[];
}

/** A command to type. */
export interface Advice {
  /** The command. */
  readonly command: string;
  /** Why, a clause such as "to lift the pause". */
  readonly why: string;
}

/** What a cluster and a store tell of one client. */
export interface ClientFacts {
  /** The client. */
  readonly client: ExplainedClient;
  /** The reasons that only concern this client. */
  readonly reasons: readonly ReasonAccount[];
  /** What could not be found out. */
  readonly unknown: readonly string[];
  /** The rules that its node may pass once. */
  readonly skips?: string;
}

/**
 * Gathers what concerns one client alone (get and list nodes; get the lock).
 *
 * @param name The name of a node, an id, or the start of one.
 */
export async function gatherFacts(
  place: Place,
  group: Group,
  name: string,
  now: number,
  signal?: AbortSignal,
): Promise<ClientFacts> {
  if (place.kind === "server") {
    const unknown = ["without the cluster, holds of the node and ids that several nodes have are unknown"];
    return { client: { name, ids: [name] }, reasons: [], unknown };
  }
  const { client, nodes, unknown } = place.kind === "cluster"
    ? await findNodes(place.client, name, signal)
    : { client: { name, ids: [name] } as ExplainedClient, nodes: [], unknown: [] };
  const reasons: ReasonAccount[] = [];
  let skips: string | undefined;
  if (nodes.length > 1) {
    reasons.push({
      kind: "node_ambiguous",
      sentence: describeAmbiguity(nodes.map((one) => one.name)),
    });
  }
  if (place.kind === "cluster" && client.node !== undefined) {
    const annotations = await annotationsOf(place.client, client.node, signal);
    const hold = annotations?.[HOLD_ANNOTATION];
    skips = annotations?.[SKIP_ANNOTATION];
    if (hold !== undefined) {
      const sentence = `node "${client.node}" is held back${hold === "" ? "" : `: ${printable(hold, 500)}`}`;
      reasons.push({ kind: "node_on_hold", rule: "hold", sentence });
    }
  }
  const { state, ending } = await place.store.read(group, { signal });
  if (ending !== undefined) {
    reasons.push({ kind: "lock_ending", sentence: describeEndingLock(ending.object, ending.finalizers) });
  }
  const deferrals = (state.notes?.deferred ?? []).filter((one) => one.until > now);
  const deferral = [client.node ?? "", ...client.ids].map((each) => findNamed(deferrals, each))
    .find(({ kind }) => kind === "one");
  if (deferral?.kind === "one") {
    const { until } = deferral.value;
    reasons.push({ kind: "deferred", sentence: describeDeferral(deferral.value), until: timeText(until) });
  }
  return { client, reasons, unknown, ...(skips !== undefined && { skips }) };
}

async function findNodes(
  cluster: ConstructorParameters<typeof NodeCalls>[0],
  name: string,
  signal?: AbortSignal,
): Promise<{ client: ExplainedClient; nodes: readonly NodeView[]; unknown: string[] }> {
  const calls = new NodeCalls(cluster);
  const id = comparableId(name);
  try {
    const all = await calls.listNodes(() => true, signal);
    const named = all.find((node) => node.name === name);
    const hasId = (node: NodeView) => node.ids.some((one) => one === id || isStart(one, name));
    const ids = named?.ids ?? [id];
    const nodes = named ? all.filter((node) => node.ids.some((one) => named.ids.includes(one))) : all.filter(hasId);
    const [only] = nodes;
    const unknown = [
      ...(named?.malformed ? [`the machine-id of node "${name}" is malformed: no id can be derived from it`] : []),
      ...(named && named.ids.length === 0 ? [`node "${name}" has no machine-id yet: its host cannot be told`] : []),
      ...(nodes.length === 0 && !named
        ? [`no node has the name or the id ${printable(name, 64)}: it gets no drain`]
        : []),
    ];
    const node = named?.name ?? (nodes.length === 1 ? only!.name : undefined);
    const known = named === undefined && nodes.length === 1 ? only!.ids : ids;
    return { client: { name, ids: known, ...(node !== undefined && { node }) }, nodes, unknown };
  } catch (error) {
    signal?.throwIfAborted();
    const unknown = [`the nodes cannot be listed: ${error instanceof Error ? error.message : error}`];
    return { client: { name, ids: [id] }, nodes: [], unknown };
  }
}

async function annotationsOf(
  cluster: ConstructorParameters<typeof NodeCalls>[0],
  name: string,
  signal?: AbortSignal,
): Promise<Record<string, string> | undefined> {
  const reading = cluster.apis.core.readNode({ name }, callOptions(signal));
  const node = await valueOfStatus(reading, { 404: undefined }, { subject: "the node" });
  return node?.metadata?.annotations;
}

/** Combines what the servers say of a group with what concerns the client. Pure. */
export function explain(overview: Overview, group: Group, facts: ClientFacts): Explanation {
  const found = overview.groups.find(({ name }) => name === group);
  const { client } = facts;
  const isClient = (one: { readonly id: string; readonly node?: string }) =>
    (client.node !== undefined && one.node === client.node) || one.node === client.name ||
    client.ids.some((id) => isShown(one.id, id));
  const holder = found?.holders.find(isClient);
  const lastRefusal = found?.waiting?.find(isClient);
  const unknown = [...overview.unknown, ...facts.unknown, ...unknownSlots(found)];
  const shared = { group, client: client.node ?? printable(client.name.slice(0, 8), 8), unknown };
  if (holder !== undefined) {
    const command = holder.isStuck ? adviceForHolder(group, holder) : undefined;
    return {
      ...shared,
      verdict: "holds",
      holder,
      reasons: [],
      ...(lastRefusal && { lastRefusal }),
      ...(command && { command }),
    };
  }
  const reasons = [...facts.reasons, ...reasonsOf(found, facts)];
  const knowsRules = found === undefined ? overview.groups.some(({ blocks }) => blocks) : found.blocks !== undefined;
  const verdict = reasons.length > 0 ? "refused" : knowsRules ? "granted" : "unknown";
  const next = nextTime(reasons, found);
  const command = adviceForReasons(group, client, reasons, found);
  return {
    ...shared,
    verdict,
    reasons,
    ...(next !== undefined && { next }),
    ...(lastRefusal && { lastRefusal }),
    ...(command && { command }),
  };
}

/** The reasons against anybody, without those that the client's node may pass, and those that are known already. */
function reasonsOf(found: GroupOverview | undefined, { reasons, skips = "" }: ClientFacts): ReasonAccount[] {
  const skipped = skips.split(",").map((rule) => rule.trim()).filter((rule) => rule !== "");
  const passes = ({ rule }: ReasonAccount) =>
    rule !== undefined && skipped.some((name) => name === "all" || name === rule || rule.startsWith(`${name}.`));
  const known = new Set(reasons.map(({ kind }) => kind));
  const blocks = (found?.blocks ?? storedBlocks(found)).filter((one) => !passes(one) && !known.has(one.kind));
  return [...blocks];
}

/** What the store alone says against a grant: a pause; and holders, where one slot is all that there may be. */
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
  return [`${names} ${holders.length === 1 ? "holds a slot" : "hold slots"}: whether another one is free`];
}

/** The latest end of all reasons, and not before the next window. */
function nextTime(reasons: readonly ReasonAccount[], found: GroupOverview | undefined): string | undefined {
  if (reasons.length === 0 || reasons.some(({ until }) => until === undefined)) return undefined;
  const times = [...reasons.map(({ until }) => until!), ...(found?.nextOpening ? [found.nextOpening] : [])];
  return times.toSorted((one, other) => Date.parse(other) - Date.parse(one))[0];
}

/** The command for a hold that is stuck. */
export function adviceForHolder(group: string, holder: HolderAccount): Advice {
  const name = holder.node ?? holder.id.replace(/…$/, "");
  switch (holder.stage) {
    case "draining":
    case "blocked": {
      const pod = holder.pods?.[0]?.pod;
      if (pod === undefined) {
        return { command: `kubectl describe node ${name}`, why: "to see what its drain waits for" };
      }
      const [namespace] = pod.split("/");
      return { command: `kubectl get pods,pdb -n ${namespace}`, why: `to see what keeps ${pod}` };
    }
    case "granted-not-rebooting":
      return {
        command: `ssh core@${name} journalctl -u zincati -u rpm-ostreed -n 50`,
        why: "to see why it does not reboot",
      };
    case "rebooting":
      return { command: `kubectl describe node ${name}`, why: "to see whether it comes back; look at its console" };
    case "back-not-reporting":
      return { command: `ssh core@${name} systemctl restart zincati`, why: "to let it report that it is back" };
    case "node-gone":
      return {
        command: `fleetlock release ${group} ${name}`,
        why: holder.release === undefined
          ? "to free the slot of a node that is gone"
          : "to free the slot of a node that is gone before the server does",
      };
    case "unknown":
      return { command: `fleetlock release ${group} ${name}`, why: "to free its slot, if its host is not rebooting" };
  }
}

function adviceForReasons(
  group: string,
  client: ExplainedClient,
  reasons: readonly ReasonAccount[],
  found: GroupOverview | undefined,
): Advice | undefined {
  const kinds = new Set(reasons.map(({ kind }) => kind));
  const name = client.node ?? client.name;
  if (kinds.has("node_ambiguous")) return { command: "kubectl get nodes", why: "to find and delete the stale node" };
  if (kinds.has("node_on_hold")) return { command: `fleetlock unhold ${name}`, why: "to let the node reboot" };
  if (kinds.has("paused")) return { command: `fleetlock resume ${group}`, why: "to lift the pause" };
  if (kinds.has("deferred")) return { command: `fleetlock undefer ${group} ${name}`, why: "to let it come again" };
  const stuck = found?.holders.find((holder) => holder.isStuck);
  if (kinds.has("lock_held") && stuck !== undefined) return adviceForHolder(group, stuck);
  if (kinds.has("lock_ending")) {
    return { command: `kubectl describe leases`, why: "to see whose finalizers keep the Lease" };
  }
  const [rule] = reasons.flatMap((reason) => reason.rule === undefined ? [] : [reason.rule.split(".")[0]!]);
  if (rule === undefined || client.node === undefined) return undefined;
  return {
    command: `kubectl annotate node ${name} ${SKIP_ANNOTATION}=${rule}`,
    why: `to let this node pass the rule ${rule} once`,
  };
}
