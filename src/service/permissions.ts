/**
 * Checks the server's permissions in the cluster at the start, so that an
 * operator learns from the log which ones are missing. The server runs without
 * them as well as it can.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import type { Config } from "../config/config.ts";
import { keeperPermissions, usefulKeeperPermissions } from "../keeper/nodes/node_calls.ts";
import { type KubernetesClient, missingPermissions } from "../kubernetes/client.ts";
import { describePermission, ForbiddenError, type Permission } from "../kubernetes/errors.ts";
import { eventPermissions } from "../kubernetes/events.ts";
import type { Clock } from "../lock/clock.ts";
import { requiredPermissions, watchPermissions } from "../stores/lease/leases.ts";

/** The permissions that a server uses. */
export interface UsedPermissions {
  /** Without one of these, requests fail. */
  readonly required: readonly Permission[];
  /** Without one of these, the server is slower or reports less. */
  readonly optional: readonly Permission[];
}

/** The first and the longest pause before the permissions are checked again, in milliseconds. It doubles each time. */
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 300_000;

/**
 * Lists the permissions that a server uses.
 *
 * @param drain How it drains nodes; undefined if it does not.
 * @param namespace The namespace of its Leases.
 */
export function usedPermissions(drain: Config["drain"], namespace: string): UsedPermissions {
  const required = requiredPermissions(namespace);
  const optional = watchPermissions(namespace);
  if (drain === undefined) return { required, optional };
  return {
    required: [...required, ...keeperPermissions({ drain: true, deletePods: drain.onTimeout === "delete" })],
    optional: [...optional, ...usefulKeeperPermissions(), ...eventPermissions(namespace)],
  };
}

/**
 * Logs which permissions are missing, by name. If the API server does not answer,
 * tries again until it does or the signal aborts. Does not throw.
 */
export async function reportMissingPermissions(
  client: KubernetesClient,
  { required, optional }: UsedPermissions,
  logger: Pick<Logger, "error" | "warning">,
  clock: Pick<Clock, "sleep">,
  signal: AbortSignal,
): Promise<void> {
  for (let pauseMs = FIRST_PAUSE_MS; !signal.aborted; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      const missing = await missingPermissions(client, [...required, ...optional], signal);
      for (const permission of missing) {
        const fields = { permission: describePermission(permission) };
        if (required.includes(permission)) logger.error("required permission missing", fields);
        else logger.warning("optional permission missing: performance is reduced", fields);
      }
      return;
    } catch (error) {
      if (signal.aborted) return;
      logger.warning("cannot check the server's permissions", { error });
      // Some clusters do not let clients ask for their own permissions.
      if (error instanceof ForbiddenError) return;
      await clock.sleep(pauseMs, signal).catch(() => {});
    }
  }
}
