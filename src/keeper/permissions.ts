/**
 * What the node keeper must be allowed in the cluster, for the check at the start, for tests and for the examples'
 * roles.
 *
 * @module
 */

import type { Permission } from "../kubernetes/errors.ts";
import { optionalPodPermissions, podPermissions } from "./drain/pod_calls.ts";
import { nodePermissions } from "./nodes/node_calls.ts";

/**
 * Lists exactly the permissions without which the node keeper cannot work.
 *
 * @param options `deletePods` is whether drains may delete pods past their budgets when the time-out has passed.
 */
export function keeperPermissions({ deletePods }: { readonly deletePods: boolean }): Permission[] {
  return [...nodePermissions(), ...podPermissions(deletePods)];
}

/** Lists the permissions that make drains faster. Without them, drains work all the same. */
export function optionalKeeperPermissions(): Permission[] {
  return optionalPodPermissions();
}
