/**
 * Heartbeats of kubelets: updates of Nodes' status at a steady rate.
 *
 * @module
 */

import type { ControlPlane } from "../support/control_plane.ts";

/**
 * Begins to send heartbeats, and goes on until it is disposed of.
 *
 * @param name The name of the Node of the heartbeat with this number.
 * @throws {Error} When it is disposed of: a heartbeat was refused.
 */
export function startHeartbeats(plane: ControlPlane, name: (n: number) => string, perSecond: number): AsyncDisposable {
  const sent: Promise<unknown>[] = [];
  let n = 0;
  const timer = setInterval(() => {
    const now = new Date().toISOString();
    const path = `/api/v1/nodes/${name(n++)}/status`;
    const conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map((type) => ({
      type,
      lastHeartbeatTime: now,
    }));
    const beat = plane.request("PATCH", path, { status: { conditions } }, "application/strategic-merge-patch+json");
    beat.catch(() => {});
    sent.push(beat);
  }, 1_000 / perSecond);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await Promise.all(sent);
    },
  };
}
