/**
 * Whose a cordon is: the pure decisions about a Node's `spec.unschedulable` and
 * the annotation by which this server marks a cordon as its own. It makes no calls.
 *
 * A Node carries the annotation exactly while the cordon is ours. What an
 * administrator cordoned before us gets none, and is never lifted by us; one who
 * wants to keep a node of ours cordoned removes the annotation.
 *
 * @module
 */

import { comparableId } from "./zincati_id.ts";

/**
 * The annotation of a Node that this server cordoned. Its value is JSON: an object with one entry a group,
 * `{"<namespace>/<group>": {"id": "<client's id>", "since": "<time of the grant>"}}`. The namespace is that of the
 * locks: where several installations share a cluster, each knows only its own.
 */
export const CORDON_ANNOTATION = "fleetlock.internal/cordoned-for";

/** For which hold a node is cordoned. */
export interface CordonOwner {
  /** The namespace of the group's lock. */
  readonly namespace: string;
  /** The group. */
  readonly group: string;
  /** The client's id. */
  readonly id: string;
  /** When the slot was granted, in milliseconds since the epoch. */
  readonly since: number;
}

/** The part of a Node that cordoning is about. */
export interface CordonState {
  /** `spec.unschedulable`. */
  readonly unschedulable: boolean;
  /** The value of {@link CORDON_ANNOTATION}; undefined where there is none. */
  readonly cordon?: string;
}

/** A change to a Node. What is undefined stays as it is; null is removed. */
export interface NodePatch {
  /** `spec.unschedulable`. */
  readonly unschedulable?: true | null;
  /** The value of {@link CORDON_ANNOTATION}. */
  readonly cordon?: string | null;
}

/**
 * Reads the annotation.
 *
 * @returns The holds that the node is cordoned for; what cannot be read is left out.
 */
export function cordonOwners(annotation: string | undefined): CordonOwner[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(annotation ?? "{}");
  } catch {
    return [];
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return [];
  return Object.entries(parsed).flatMap(([key, entry]) => {
    const [namespace, group, ...more] = key.split("/");
    const { id, since } = (entry ?? {}) as { id?: unknown; since?: unknown };
    const time = typeof since === "string" ? Date.parse(since) : NaN;
    if (!namespace || !group || more.length > 0 || typeof id !== "string" || !Number.isFinite(time)) return [];
    return [{ namespace, group, id, since: time }];
  });
}

/**
 * Decides how a node becomes cordoned for a hold.
 *
 * The entry of an earlier hold of the same group is rewritten, so that whoever
 * is about to lift that hold's cordon, having seen the older version of the
 * Node, finds it changed.
 *
 * @returns Undefined where nothing is to be done: it is cordoned for this hold, or by an administrator.
 */
export function planCordon(state: CordonState, owner: CordonOwner): NodePatch | undefined {
  const { unschedulable, cordon } = state;
  if (unschedulable && cordon === undefined) return undefined;
  const owners = cordonOwners(cordon);
  if (unschedulable && owners.some((other) => isSame(other, owner))) return undefined;
  const next = write([...owners.filter((other) => keyOf(other) !== keyOf(owner)), owner]);
  return unschedulable ? { cordon: next } : { unschedulable: true, cordon: next };
}

/**
 * Decides how a cordon for a hold is lifted.
 *
 * @returns Undefined where the node is not cordoned for it by us. The cordon itself goes with its last entry.
 */
export function planUncordon(state: CordonState, owner: CordonOwner): NodePatch | undefined {
  const owners = cordonOwners(state.cordon);
  const left = owners.filter((other) => !isSame(other, owner));
  if (left.length === owners.length) return undefined;
  return keep(left);
}

/**
 * Decides how a node is put right, given which of the holds that it is
 * cordoned for still exist. It is wrong when it is cordoned for a hold that
 * ended, and when it carries the annotation but is schedulable, because an
 * administrator uncordoned it: a cordon that comes next is the administrator's.
 *
 * @param isHeld Whether an owner still holds its slot; true where that is not known.
 * @returns Undefined where nothing is wrong.
 */
export function planRepair(state: CordonState, isHeld: (owner: CordonOwner) => boolean): NodePatch | undefined {
  if (state.cordon === undefined) return undefined;
  if (!state.unschedulable) return { cordon: null };
  const owners = cordonOwners(state.cordon);
  const left = owners.filter(isHeld);
  if (left.length > 0 && left.length === owners.length) return undefined;
  return keep(left);
}

function keep(left: readonly CordonOwner[]): NodePatch {
  return left.length === 0 ? { unschedulable: null, cordon: null } : { cordon: write(left) };
}

function isSame(one: CordonOwner, other: CordonOwner): boolean {
  return keyOf(one) === keyOf(other) && one.since === other.since && comparableId(one.id) === comparableId(other.id);
}

function write(owners: readonly CordonOwner[]): string {
  return JSON.stringify(Object.fromEntries(owners.map((owner) => {
    return [keyOf(owner), { id: owner.id, since: new Date(owner.since).toISOString() }];
  })));
}

/** Neither part may hold a slash. */
function keyOf({ namespace, group }: CordonOwner): string {
  return `${namespace}/${group}`;
}
