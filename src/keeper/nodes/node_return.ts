/**
 * Whether a host is back from its reboot, as far as its Node shows it.
 *
 * What a kubelet does when it starts, and what this rests on: it sets
 * `nodeInfo.bootID` and the condition Ready in one and the same patch of the
 * Node's status. So a Ready that stands beside a new bootID was judged after
 * the boot. Until that patch comes, the Node looks as before the reboot, Ready
 * included, for as long as the node controller has patience (40 to 50 seconds),
 * and the update agent may well ask before it. Then only the kubelet's Lease,
 * which it renews every 10 seconds, tells a host that never rebooted from one
 * that has just come up.
 *
 * @see https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet_node_status.go (defaultNodeStatusFuncs)
 * @see https://kubernetes.io/docs/reference/node/node-status/#heartbeats
 *
 * @module
 */

import type { Clock } from "../../lock/clock.ts";
import type { NodeView } from "./node.ts";

/** What a Node shows of its host's return. */
export type ReturnState =
  /** It is ready after its reboot, or there is no node to wait for. */
  | { readonly kind: "ready" }
  /** It is ready and has not rebooted since the grant, or its kubelet has not come up to say so. */
  | { readonly kind: "same_boot" }
  | { readonly kind: "not_ready"; readonly reason: string };

/**
 * Judges a Node.
 *
 * @param node Undefined where it is no more.
 * @param bootId The bootID at the grant; undefined where none was noted: then any boot will do.
 */
export function judgeReturn(node: NodeView | undefined, bootId: string | undefined): ReturnState {
  if (node === undefined) return { kind: "ready" };
  if (node.ready !== "True") {
    const message = node.readyMessage === undefined ? "" : ` (${node.readyMessage})`;
    return { kind: "not_ready", reason: `its condition Ready is ${node.ready ?? "not there"}${message}` };
  }
  return { kind: bootId !== undefined && node.bootId === bootId ? "same_boot" : "ready" };
}

/** A kubelet's Lease this young, in milliseconds, was renewed by a kubelet that has not rebooted in between. */
const FRESH_MS = 12_000;

/** How often the Lease is looked at, in milliseconds. */
const POLL_MS = 1_000;

/** How long after a renewal the new bootID may take to come, in milliseconds: both are sent when the kubelet starts. */
const SETTLE_MS = 3_000;

/**
 * Waits for a sign of life of a node's kubelet that is younger than the call.
 *
 * @param renewal Reads when the kubelet last renewed its Lease, in milliseconds since the epoch; undefined without a Lease.
 * @param ms How long to wait at most, in milliseconds.
 * @param signal Ends the wait at once.
 * @returns Whether there was one, or none can be expected.
 */
export async function kubeletIsAlive(
  renewal: () => Promise<number | undefined>,
  clock: Clock,
  ms: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadline = clock.monotonic() + ms;
  const first = await renewal();
  if (first === undefined || Math.abs(clock.now() - first) <= FRESH_MS) return true;
  while (clock.monotonic() < deadline && !signal.aborted) {
    await clock.sleep(Math.min(POLL_MS, Math.max(deadline - clock.monotonic(), 1)), signal).catch(() => {});
    if (signal.aborted || (await renewal()) === first) continue;
    await clock.sleep(SETTLE_MS, signal).catch(() => {});
    return !signal.aborted;
  }
  return false;
}
