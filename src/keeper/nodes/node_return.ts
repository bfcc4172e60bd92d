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
import type { NodeView } from "./node.ts";

/** What a Node shows of its host's return. */
export type ReturnState =
  /** It is ready after its reboot, or there is no node to wait for. */
  | { readonly kind: "ready" }
  /** It is ready and has not rebooted since the grant, or it has rebooted and its kubelet has not reported yet. */
  | { readonly kind: "same_boot" }
  /** It is not ready. `reason` is for a person. */
  | { readonly kind: "not_ready"; readonly reason: string };

/**
 * Judges a Node.
 *
 * @param node The Node; undefined where it does not exist.
 * @param bootId The bootID at the grant; undefined where none was noted, and then any bootID counts as new.
 */
export function judgeReturn(node: NodeView | undefined, bootId: string | undefined): ReturnState {
  if (node === undefined) return { kind: "ready" };
  if (node.ready !== "True") {
    const message = node.readyMessage === undefined ? "" : ` (${node.readyMessage})`;
    return { kind: "not_ready", reason: `its condition Ready is ${node.ready ?? "missing"}${message}` };
  }
  return { kind: bootId !== undefined && node.bootId === bootId ? "same_boot" : "ready" };
}

/** If a kubelet's Lease is younger than this, in milliseconds, the host has not rebooted since the renewal. */
const FRESH_MS = 12_000;

/** How often the Lease is read, in milliseconds. */
const POLL_MS = 1_000;

/** How long after the first renewal a new bootID may follow, in milliseconds. The kubelet sends both when it starts. */
const SETTLE_MS = 3_000;

/**
 * Waits until a node's kubelet shows that it runs.
 *
 * @param renewal Reads when the kubelet last renewed its Lease, in milliseconds since the epoch; undefined without a Lease.
 * @param ms How long to wait at most, in milliseconds.
 * @param signal Ends the wait at once.
 * @returns Whether the kubelet runs. True also where it keeps no Lease, since then nothing can show it.
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
