/**
 * Gathers what a cluster and a store tell of one client: its Node and ids, the
 * annotations of the Node, its hold and its deferral. It changes nothing.
 *
 * @module
 */

import { NodeCalls } from "../keeper/nodes/node_calls.ts";
import type { NodeView } from "../keeper/nodes/node.ts";
import { comparableId, type Group } from "../lock/identity.ts";
import type { Holder } from "../lock/semaphore.ts";
import { describeAmbiguity, describeDeferral, describeEndingLock, printable } from "../lock/wording.ts";
import type { HolderAccount, ReasonAccount } from "../status/account.ts";
import { clientAccount, timeText } from "../status/account_text.ts";
import { findNamed, isStart, type NamedClient } from "./clients.ts";
import type { ClusterPlace, Place } from "./place.ts";

/** How many nodes a sentence names. */
const NODES_NAMED = 5;

/** What a cluster and a store tell of one client. */
export interface ClientFacts {
  /** The client. */
  readonly client: NamedClient;
  /** The reasons that only concern this client. */
  readonly reasons: readonly ReasonAccount[];
  /** What could not be found out, and may speak against a grant. */
  readonly unknown: readonly string[];
  /** What is known, and does not speak against a grant. */
  readonly notes: readonly string[];
  /** Its hold by a fresh read; null where it has none; undefined where the store was not read. */
  readonly held?: HolderAccount | null;
  /** The rules that its node may pass. */
  readonly skips?: string;
  /** Whether one of its Nodes is not ready or cordoned, so that rules that count such Nodes may leave it out. */
  readonly isUnavailable?: boolean;
  /** Whether the Nodes were not looked at, although there may be some. */
  readonly isBlind: boolean;
}

/**
 * Gathers what concerns one client alone (get and list nodes; get the lock).
 *
 * @param name The name of a node, an id, or the start of one.
 * @param now Milliseconds since the epoch, by the clock of the locks.
 */
export async function gatherFacts(
  place: Place,
  group: Group,
  name: string,
  now: number,
  signal?: AbortSignal,
): Promise<ClientFacts> {
  const asTyped = { client: { name, ids: [] }, reasons: [], unknown: [], notes: [] };
  if (place.kind === "server") return { ...asTyped, isBlind: true };
  const seen = place.kind === "cluster"
    ? await lookAtNodes(place.client, name, signal)
    : { ...asTyped, isBlind: false };
  const reasons = [...seen.reasons];
  const { state, ending } = await place.store.read(group, { signal });
  if (ending !== undefined) {
    reasons.push({ kind: "lock_ending", sentence: describeEndingLock(ending.object, ending.finalizers) });
  }
  const held = findAmong(state.holders, seen.client);
  const deferral = findAmong((state.notes?.deferred ?? []).filter((one) => one.until > now), seen.client);
  if (deferral !== undefined) {
    const { until } = deferral;
    reasons.push({ kind: "deferred", rule: "deferred", sentence: describeDeferral(deferral), until: timeText(until) });
  }
  const known = held?.id ?? deferral?.id;
  return {
    ...seen,
    notes: known === undefined ? seen.notes : [],
    // The store has the whole id where a person typed only its start.
    client: known === undefined ? seen.client : { ...seen.client, ids: [...seen.client.ids, known] },
    reasons,
    ...heldOf(group, held, state.holders, seen.client),
  };
}

/** A start of an id that fits several holders tells of none of them that it is the one. */
function heldOf(
  group: Group,
  held: Holder | undefined,
  holders: readonly Holder[],
  { name }: NamedClient,
): Pick<ClientFacts, "held"> {
  if (held !== undefined) return { held: heldAccount(group, held) };
  return findNamed(holders, name).kind === "several" ? {} : { held: null };
}

function findAmong<T extends Parameters<typeof findNamed>[0][number]>(
  all: readonly T[],
  { name, node, ids }: NamedClient,
): T | undefined {
  for (const each of [...(node === undefined ? [] : [node]), ...ids, name]) {
    const found = findNamed(all, each);
    if (found.kind === "one") return found.value;
  }
  return undefined;
}

function heldAccount(group: Group, { id, node, since }: Holder): HolderAccount {
  return {
    ...clientAccount(group, id),
    ...(node && { node: printable(node.name, 253) }),
    since: timeText(since),
    stage: "unknown",
    isStuck: false,
  };
}

/** Finds the client's Node, and what stands on it. What a server could not know is not guessed here either. */
async function lookAtNodes(
  client: ClusterPlace["client"],
  name: string,
  signal?: AbortSignal,
): Promise<Omit<ClientFacts, "held">> {
  try {
    return findNodes(await new NodeCalls(client).listNodes(() => true, signal), name);
  } catch (error) {
    signal?.throwIfAborted();
    const why = error instanceof Error ? error.message : error;
    const unknown = [
      `whether the node is on hold or may skip rules, and whether several nodes have its id: they cannot be listed (${why})`,
    ];
    return { client: { name, ids: [] }, reasons: [], unknown, notes: [], isBlind: false };
  }
}

/** Finds the Nodes that a name may mean, and says what stands on them. Pure. */
export function findNodes(all: readonly NodeView[], name: string): Omit<ClientFacts, "held"> {
  const named = all.find((node) => node.name === name);
  const nodes = named === undefined
    ? all.filter(({ ids }) => ids.some((one) => one === comparableId(name) || isStart(one, name)))
    : all.filter((node) => node === named || node.ids.some((one) => named.ids.includes(one)));
  const nothing = { client: { name, ids: [] }, reasons: [], unknown: [], notes: [], isBlind: false };
  const [first, ...others] = nodes;
  if (first === undefined) {
    const note = `no node has the name or the id ${printable(name, 64)}: a client with this id gets no drain`;
    return { ...nothing, notes: [note] };
  }
  const isOneClient = others.every(({ ids }) => ids.some((id) => first.ids.includes(id)));
  if (named === undefined && !isOneClient) {
    const names = nodes.slice(0, NODES_NAMED).map((node) => `"${node.name}"`).join(", ");
    return {
      ...nothing,
      unknown: [`which client is meant: ids of several nodes begin so (${names}); give a node's name`],
    };
  }
  const node = named ?? (others.length === 0 ? first : undefined);
  return {
    client: { name, ids: [...new Set((named ?? first).ids)], ...(node && { node: node.name }) },
    ...judge(nodes),
    unknown: [...unknownId(named), ...unknownGhosts(nodes)],
    notes: [],
    isBlind: false,
    isUnavailable: nodes.some(({ ready, unschedulable }) => ready !== "True" || unschedulable),
    // Of several nodes, a server does not know which one asks, and passes over no rule.
    ...(others.length === 0 && first.skip !== undefined && { skips: first.skip }),
  };
}

/** The reasons of the Nodes that a client may run on. */
function judge(nodes: readonly NodeView[]): { reasons: ReasonAccount[] } {
  const reasons: ReasonAccount[] = [];
  if (nodes.length > 1 && readyOf(nodes).length !== 1) {
    reasons.push({ kind: "node_ambiguous", sentence: describeAmbiguity(nodes.map(({ name }) => name)) });
  }
  const held = nodes.find(({ hold }) => hold !== undefined);
  if (held !== undefined) {
    const why = held.hold!.trim() === "" ? "" : `: ${printable(held.hold!, 500)}`;
    reasons.push({ kind: "node_on_hold", rule: "hold", sentence: `node "${held.name}" is on hold${why}` });
  }
  return { reasons };
}

function unknownId(named: NodeView | undefined): string[] {
  if (named?.malformed) return [`which id the host has: the machine-id of node "${named.name}" is malformed`];
  if (named?.ids.length === 0) return [`which id the host has: node "${named.name}" has no machine-id yet`];
  return [];
}

/** A server leaves out Nodes that have not been ready for some minutes, beside one that is ready. */
function unknownGhosts(nodes: readonly NodeView[]): string[] {
  const [ready, ...more] = readyOf(nodes);
  if (nodes.length < 2 || ready === undefined || more.length > 0) return [];
  const others = nodes.filter((node) => node !== ready).map(({ name }) => `"${name}"`).join(", ");
  return [
    `whether its id stands for node "${ready.name}" alone: ${others} also has it, and counts until it has been ` +
    "NotReady for two minutes; kubectl describe node tells since when it is",
  ];
}

function readyOf(nodes: readonly NodeView[]): NodeView[] {
  return nodes.filter(({ ready }) => ready === "True");
}
