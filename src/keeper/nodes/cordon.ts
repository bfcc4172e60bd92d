/**
 * Who owns a cordon: the pure decisions about a Node's `spec.unschedulable` and the annotation by which this server
 * marks a cordon as its own. It makes no calls.
 *
 * A Node carries the annotation exactly while the cordon is ours. A node that an administrator cordoned before us gets
 * no annotation, and we never lift its cordon. An administrator who wants to keep a node of ours cordoned removes the
 * annotation.
 *
 * @module
 */

import { type ClientId, type Group, parseClientId, parseGroup } from "../../lock/identity.ts";
import { isSameClient } from "./zincati_id.ts";

/**
 * The annotation of a Node that this server cordoned. Its value is JSON, an object with one entry for each group:
 * `{"<namespace>/<group>": {"id": "<client's id>", "since": "<time of the grant>"}}`. The namespace is that of the
 * locks, so that several installations in one cluster do not touch each other's cordons.
 */
export const CORDON_ANNOTATION = "fleetlock.internal/cordoned-for";

/** The hold that a cordon belongs to. */
export interface CordonOwner {
  /** The namespace of the group's lock. */
  readonly namespace: string;
  /** The group. */
  readonly group: Group;
  /** The client's id. */
  readonly id: ClientId;
  /** When the slot was granted, in milliseconds since the epoch. */
  readonly since: number;
}

/** The part of a Node that cordoning is about. */
export interface CordonState {
  /** `spec.unschedulable`. */
  readonly unschedulable: boolean;
  /** The value of {@link CORDON_ANNOTATION}; undefined where the Node does not carry it. */
  readonly cordon?: string;
}

/** A change to a Node. Undefined leaves a field as it is; null removes it. */
export interface NodePatch {
  /** `spec.unschedulable`. */
  readonly unschedulable?: true | null;
  /** The value of {@link CORDON_ANNOTATION}. */
  readonly cordon?: string | null;
}

/**
 * Reads the annotation.
 *
 * @returns The holds that the node is cordoned for, without entries that cannot be read.
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
    const [namespace, rawGroup, ...more] = key.split("/");
    const { id: rawId, since: rawSince } = (entry ?? {}) as { id?: unknown; since?: unknown };
    const [group, id] = [parseGroup(rawGroup), parseClientId(rawId)];
    const since = typeof rawSince === "string" ? Date.parse(rawSince) : NaN;
    const isReadable = namespace && group !== undefined && more.length === 0 && id !== undefined;
    return isReadable && Number.isFinite(since) ? [{ namespace, group, id, since }] : [];
  });
}

/**
 * Decides how to cordon a node for a hold.
 *
 * The patch rewrites the entry of an earlier hold of the same group. A replica that is about to lift the earlier
 * hold's cordon then finds that the Node has changed since it read it.
 *
 * @returns Undefined where the node is already cordoned for this hold, or by an administrator.
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
 * Decides how to lift a cordon for a hold. The patch uncordons the node when no other hold needs the cordon.
 *
 * @returns Undefined where we have not cordoned the node for this hold.
 */
export function planUncordon(state: CordonState, owner: CordonOwner): NodePatch | undefined {
  const owners = cordonOwners(state.cordon);
  const left = owners.filter((other) => !isSame(other, owner));
  if (left.length === owners.length) return undefined;
  return patchFor(left);
}

/**
 * Decides how to clean up a stale cordon, given which of the holds that a node is cordoned for still exist. A cordon is
 * stale if its hold has ended. The annotation alone is stale if an administrator uncordoned the node: the next cordon
 * is then the administrator's.
 *
 * @param isHeld Whether an owner still holds its slot; true where that is not known.
 * @returns Undefined where nothing is stale.
 */
export function planRepair(state: CordonState, isHeld: (owner: CordonOwner) => boolean): NodePatch | undefined {
  if (state.cordon === undefined) return undefined;
  if (!state.unschedulable) return { cordon: null };
  const owners = cordonOwners(state.cordon);
  const left = owners.filter(isHeld);
  if (left.length > 0 && left.length === owners.length) return undefined;
  return patchFor(left);
}

/** Keeps the cordon for the owners that are left, or lifts it where none is. */
function patchFor(left: readonly CordonOwner[]): NodePatch {
  return left.length === 0 ? { unschedulable: null, cordon: null } : { cordon: write(left) };
}

function isSame(one: CordonOwner, other: CordonOwner): boolean {
  return keyOf(one) === keyOf(other) && one.since === other.since && isSameClient(one.id, other.id);
}

function write(owners: readonly CordonOwner[]): string {
  return JSON.stringify(Object.fromEntries(owners.map((owner) => {
    return [keyOf(owner), { id: owner.id, since: new Date(owner.since).toISOString() }];
  })));
}

/** The key of an owner's entry. Neither part can contain a slash. */
function keyOf({ namespace, group }: CordonOwner): string {
  return `${namespace}/${group}`;
}
