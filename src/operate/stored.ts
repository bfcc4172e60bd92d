/**
 * The state of a fleet as its store alone tells it, for when no server answers:
 * who holds slots, pauses and deferrals. With a cluster, it reads the Nodes of the
 * holds. It changes nothing.
 *
 * @module
 */

import type { KubernetesClient } from "../kubernetes/client.ts";
import { NodeCalls } from "../keeper/nodes/node_calls.ts";
import type { Listing } from "../lock/lock_store.ts";
import { pauseAt } from "../lock/group_notes.ts";
import type { HeldNode, Holder } from "../lock/semaphore.ts";
import { printable } from "../lock/wording.ts";
import type { HolderAccount } from "../status/account.ts";
import { clientAccount, pauseAccount, timeText } from "../status/account_text.ts";
import { type HeldNodeFacts, stageOf } from "../status/stage.ts";
import type { GroupOverview, Overview } from "./overview.ts";

/** From which age on a hold counts as stuck where nobody knows since when it is in its stage, in milliseconds. */
const STUCK_MS = 3_600_000;

/** What only servers know. */
const ONLY_SERVERS =
  "only servers know who waits, what the rules say, how many slots there are and what a drain waits for";

/** Reads what is known of the Nodes of all holds (get nodes), by UID. A Node that cannot be read is left out. */
export async function readHeldNodes(
  client: KubernetesClient,
  listing: Listing,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, HeldNodeFacts>> {
  const calls = new NodeCalls(client);
  const nodes = [...listing.groups.values()].flatMap(({ state }) => state.holders.flatMap(({ node }) => node ?? []));
  const facts = await Promise.all(nodes.map(async (held): Promise<[string, HeldNodeFacts]> => {
    try {
      return [held.uid, await factsOf(calls, held, signal)];
    } catch {
      signal?.throwIfAborted();
      return [held.uid, { kind: "unknown" }];
    }
  }));
  return new Map(facts);
}

async function factsOf(calls: NodeCalls, held: HeldNode, signal?: AbortSignal): Promise<HeldNodeFacts> {
  const node = await calls.getNode(held.name, signal);
  if (node === undefined || node.uid !== held.uid) return { kind: "gone" };
  return { kind: "seen", isReady: node.ready === "True", ...(node.bootId !== undefined && { bootId: node.bootId }) };
}

/**
 * Makes the overview of a store.
 *
 * @param source Where the store is, such as `the file locks.db`.
 * @param now Milliseconds since the epoch, by the clock of the locks.
 * @param nodes What is known of the Nodes of the holds, by UID.
 * @param why Why no server was asked, a sentence; undefined where there is nobody to ask.
 */
export function overviewOfStore(
  listing: Listing,
  source: string,
  now: number,
  nodes: ReadonlyMap<string, HeldNodeFacts> = new Map(),
  why?: string,
): Overview {
  const groups = [...listing.groups].toSorted(([one], [other]) => one < other ? -1 : 1)
    .map(([name, { state }]): GroupOverview => {
      const pause = pauseAt(state.notes, now);
      return {
        name,
        transitions: state.transitions,
        holders: state.holders.map((holder) => holderAccount(name, holder, nodes, now)),
        ...(pause && { pause: pauseAccount(pause) }),
        deferred: (state.notes?.deferred ?? []).filter(({ until }) => until > now).map(({ id, node, until, pods }) => ({
          ...clientAccount(name, id),
          node: printable(node, 253),
          until: timeText(until),
          pods: pods.map((pod) => printable(pod, 500)),
        })),
      };
    });
  const unknown = [why === undefined ? ONLY_SERVERS : `${ONLY_SERVERS}: ${why}`];
  return { at: timeText(now), source, unknown, groups };
}

function holderAccount(
  group: string,
  holder: Holder,
  nodes: ReadonlyMap<string, HeldNodeFacts>,
  now: number,
): HolderAccount {
  const facts: HeldNodeFacts = holder.node && nodes.get(holder.node.uid) || { kind: "unknown" };
  return {
    ...clientAccount(group, holder.id),
    ...(holder.node && { node: printable(holder.node.name, 253) }),
    since: timeText(holder.since),
    stage: stageOf(holder, facts),
    isStuck: now - holder.since >= STUCK_MS,
  };
}
