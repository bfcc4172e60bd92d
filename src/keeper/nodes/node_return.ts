/**
 * Whether a host is back from its reboot, as far as its Node shows it. It makes no calls itself.
 *
 * It rests on what a kubelet does when it starts: it sets `nodeInfo.bootID` and the Ready condition in the same patch
 * of the Node's status. So a Ready condition beside a new bootID was set after the boot. Until that patch, the Node
 * looks as before the reboot, Ready included, until the node controller notices (40 to 50 seconds), and the update
 * agent may ask earlier. Then only the kubelet's Lease, which the kubelet renews every 10 seconds, distinguishes a host
 * that never rebooted from one that has just started.
 *
 * @see https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet_node_status.go (defaultNodeStatusFuncs)
 * @see https://kubernetes.io/docs/reference/node/node-status/#heartbeats
 *
 * @module
 */

import type { Clock } from "../../lock/clock.ts";
import type { Hold } from "../../lock/node_keeper.ts";
import type { NodeView } from "./node.ts";

/** What the Nodes of a host show of its return. */
export type ReturnState =
  /**
   * One is ready after the reboot (`rebooted`), or the hold was granted to a host without a Node, which has none now.
   */
  | { readonly kind: "ready"; readonly rebooted?: true }
  /**
   * The host had a Node and has none now: it has left the cluster, or it has just booted and its kubelet has not
   * registered a Node again. Some systems delete the Node of each host that shuts down.
   */
  | { readonly kind: "absent" }
  /** `node` is ready, and may look as before the reboot because its kubelet has not reported yet. */
  | { readonly kind: "same_boot"; readonly node: NodeView }
  /** None is ready. `reason` is for a person. */
  | { readonly kind: "not_ready"; readonly node: string; readonly reason: string };

/**
 * Judges whether the host of a hold is back.
 *
 * @param hold Tells what was noted. Only a bootID other than the noted one shows a reboot: without either of them, the
 * kubelet has to show that it runs, however far the hold's drain is.
 * @param nodes The Nodes that the host may run on: the noted one, where it exists, and then others with the client's
 * id.
 */
export function judgeReturn(
  { node: noted, isNodeUnreadable }: Pick<Hold, "node" | "isNodeUnreadable">,
  nodes: readonly NodeView[],
): ReturnState {
  const [first] = nodes;
  if (first === undefined) return { kind: noted !== undefined || isNodeUnreadable ? "absent" : "ready" };
  const ready = nodes.filter((node) => node.ready === "True");
  const notedBoot = isNodeUnreadable ? undefined : noted?.bootId;
  const mayBeSameBoot = ({ bootId }: NodeView) => {
    return notedBoot === undefined || bootId === undefined || bootId === notedBoot;
  };
  if (ready.some((node) => !mayBeSameBoot(node))) return { kind: "ready", rebooted: true };
  if (ready[0] !== undefined) return { kind: "same_boot", node: ready[0] };
  const message = first.readyMessage === undefined ? "" : ` (${first.readyMessage})`;
  return {
    kind: "not_ready",
    node: first.name,
    reason: `its condition Ready is ${first.ready ?? "missing"}${message}`,
  };
}

/** How often the Lease is read, in milliseconds. */
const POLL_MS = 1_000;

/** How long after the first renewal a new bootID may follow, in milliseconds. The kubelet sends both when it starts. */
const SETTLE_MS = 3_000;

/**
 * Waits until a node's kubelet shows that it runs: it renews its Lease after the call. The times of renewals are the
 * node's and are compared only with each other.
 *
 * @param renewal Reads when the kubelet last renewed its Lease, in milliseconds since the epoch; undefined without a
 * Lease.
 * @param ms How long to wait at most, in milliseconds.
 * @param signal Ends the wait at once.
 * @returns Whether the kubelet runs; "unknown", which must do, where it keeps no Lease at the first reading, since then
 * nothing can show it. A Lease that is deleted later shows nothing.
 */
export async function kubeletIsAlive(
  renewal: () => Promise<number | undefined>,
  clock: Clock,
  ms: number,
  signal: AbortSignal,
): Promise<boolean | "unknown"> {
  const deadline = clock.monotonic() + ms;
  const first = await renewal();
  if (first === undefined) return "unknown";
  while (clock.monotonic() < deadline && !signal.aborted) {
    await clock.sleep(Math.min(POLL_MS, Math.max(deadline - clock.monotonic(), 1)), signal).catch(() => {});
    if (signal.aborted) continue;
    const renewed = await renewal();
    if (renewed === undefined || renewed === first) continue;
    await clock.sleep(SETTLE_MS, signal).catch(() => {});
    return !signal.aborted;
  }
  return false;
}
