/**
 * Lists the permissions that a server uses in the cluster, and says what a
 * missing one means for its readiness. permission_monitor.ts asks for them.
 *
 * @module
 */

import type { DrainConfig } from "../config/config.ts";
import type { Readiness } from "../http/handler.ts";
import { keeperPermissions, optionalKeeperPermissions } from "../keeper/permissions.ts";
import { describePermission, roleFor } from "../kubernetes/errors.ts";
import { eventPermissions } from "../kubernetes/events.ts";
import type { PermissionMonitor, UsedPermissions } from "../kubernetes/permission_monitor.ts";
import { requiredPermissions, watchPermissions } from "../stores/lease/leases.ts";

/**
 * Lists the permissions that a server uses.
 *
 * @param drain How it drains nodes; undefined if it does not.
 * @param namespace The namespace of its Leases.
 */
export function usedPermissions(drain: Pick<DrainConfig, "onTimeout"> | undefined, namespace: string): UsedPermissions {
  const required = requiredPermissions(namespace);
  const optional = watchPermissions(namespace);
  if (drain === undefined) return { required, forDrain: [], optional };
  const forDrain = keeperPermissions({ deletePods: drain.onTimeout === "delete" });
  return {
    required: [...required, ...forDrain],
    forDrain,
    optional: [...optional, ...optionalKeeperPermissions(), ...eventPermissions(namespace)],
  };
}

/**
 * Judges whether a replica is ready. A missing required permission keeps one from
 * becoming ready, so that a rollout stops at it. It does not make a ready one
 * unready: all replicas lack it, and hosts that are back must still reach one.
 */
export class PermissionGate {
  readonly #monitor: Pick<PermissionMonitor, "isAnswered" | "missing">;
  #wasReady = false;

  /** Judges by what `monitor` found. */
  constructor(monitor: Pick<PermissionMonitor, "isAnswered" | "missing">) {
    this.#monitor = monitor;
  }

  /** Judges a replica that is ready in all other respects. */
  judge(): Readiness {
    const [missing] = this.#monitor.missing.required;
    const note = missing && `the server may not ${describePermission(missing)}: grant it in ${roleFor(missing)}`;
    if (!this.#wasReady) {
      if (!this.#monitor.isAnswered) return { kind: "not_ready", reason: "the server's permissions are being checked" };
      if (note !== undefined) return { kind: "not_ready", reason: note };
    }
    this.#wasReady = true;
    return { kind: "ready", note };
  }
}
