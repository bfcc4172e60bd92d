/**
 * Who owns a cordon: the pure decisions about a Node's `spec.unschedulable` and the annotation by which this server
 * marks a cordon as its own. It makes no calls.
 *
 * A Node carries the annotation exactly while the cordon is ours. A node that an administrator cordoned before us gets
 * no annotation, and we never lift its cordon. An administrator who wants to keep a node of ours cordoned removes the
 * annotation, or uncordons the node and cordons it again.
 *
 * An annotation that cannot be read is not a claim of ours: the cordon is neither lifted nor is the annotation
 * rewritten. Entries and fields that this version does not know are kept.
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
  /**
   * Whether the Node shows that somebody else set `spec.unschedulable`: after an uncordoning that left our annotation
   * in place, or beside us. The annotation then says nothing about the cordon.
   */
  readonly isCordonForeign?: boolean;
}

/** A change to a Node. Undefined leaves a field as it is; null removes it. */
export interface NodePatch {
  /** `spec.unschedulable`. */
  readonly unschedulable?: true | null;
  /** The value of {@link CORDON_ANNOTATION}. */
  readonly cordon?: string | null;
  /** Removes the annotation `fleetlock.internal/skip`. */
  readonly skip?: null;
}

/** An entry of the annotation. `owner` is undefined where the entry cannot be read. */
interface Entry {
  readonly key: string;
  readonly raw: unknown;
  readonly owner?: CordonOwner;
}

/**
 * Reads the annotation.
 *
 * @returns The holds that the node is cordoned for, without entries that cannot be read.
 */
export function cordonOwners(annotation: string | undefined): CordonOwner[] {
  return (entriesOf(annotation) ?? []).flatMap(({ owner }) => owner ?? []);
}

/** Whether an annotation, or an entry of it, cannot be read. */
export function isUnreadable(annotation: string | undefined): boolean {
  return annotation !== undefined && (entriesOf(annotation)?.some(({ owner }) => owner === undefined) ?? true);
}

/**
 * Decides how to cordon a node for a hold.
 *
 * The patch rewrites the entry of an earlier hold of the same group. A replica that is about to lift the earlier
 * hold's cordon then finds that the Node has changed since it read it.
 *
 * @returns Undefined where the node is already cordoned for this hold, or by an administrator. A patch of the
 * annotation alone may also mean that the cordon is an administrator's.
 */
export function planCordon(state: CordonState, owner: CordonOwner): NodePatch | undefined {
  if (!state.unschedulable) return { unschedulable: true, cordon: write([...othersOf(state, owner), entryOf(owner)]) };
  const owners = cordonOwners(state.cordon);
  if (owners.length === 0) return undefined;
  if (state.isCordonForeign) return { cordon: null };
  if (owners.some((other) => isSame(other, owner))) return undefined;
  return { cordon: write([...othersOf(state, owner), entryOf(owner)]) };
}

/**
 * Decides how to lift a cordon for a hold. The patch uncordons the node when nobody else needs the cordon.
 *
 * @returns Undefined where we have not cordoned the node for this hold.
 */
export function planUncordon(state: CordonState, owner: CordonOwner): NodePatch | undefined {
  if (!cordonOwners(state.cordon).some((other) => isSame(other, owner))) return undefined;
  return planRepair(state, (other) => !isSame(other, owner));
}

/**
 * Decides how to clean up a stale cordon, given which of the holds that a node is cordoned for still exist. A cordon is
 * stale if its hold has ended. The annotation alone is stale if somebody else uncordoned the node, and also if they
 * have cordoned it again since: that cordon is theirs.
 *
 * @param isHeld Whether an owner still holds its slot; true where that is not known.
 * @returns Undefined where nothing is stale.
 */
export function planRepair(state: CordonState, isHeld: (owner: CordonOwner) => boolean): NodePatch | undefined {
  const entries = entriesOf(state.cordon) ?? [];
  if (!entries.some(({ owner }) => owner !== undefined)) return undefined;
  if (!state.unschedulable || state.isCordonForeign) return { cordon: null };
  const left = entries.filter(({ owner }) => owner === undefined || isHeld(owner));
  if (left.length === entries.length) return undefined;
  return left.length === 0 ? { unschedulable: null, cordon: null } : { cordon: write(left) };
}

/** @returns Undefined where the annotation is not a JSON object. */
function entriesOf(annotation: string | undefined): Entry[] | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(annotation ?? "{}");
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return undefined;
  return Object.entries(parsed).map(([key, raw]) => ({ key, raw, owner: ownerOf(key, raw) }));
}

function ownerOf(key: string, raw: unknown): CordonOwner | undefined {
  const [namespace, rawGroup, ...more] = key.split("/");
  const { id: rawId, since: rawSince } = (raw ?? {}) as { id?: unknown; since?: unknown };
  const [group, id] = [parseGroup(rawGroup), parseClientId(rawId)];
  const since = typeof rawSince === "string" ? Date.parse(rawSince) : NaN;
  const isReadable = namespace && group !== undefined && more.length === 0 && id !== undefined;
  return isReadable && Number.isFinite(since) ? { namespace, group, id, since } : undefined;
}

/** The entries that stay when a hold cordons the node: none where the annotation is stale. */
function othersOf({ unschedulable, cordon }: CordonState, owner: CordonOwner): Entry[] {
  return unschedulable ? (entriesOf(cordon) ?? []).filter(({ key }) => key !== keyOf(owner)) : [];
}

function entryOf(owner: CordonOwner): Entry {
  return { key: keyOf(owner), raw: { id: owner.id, since: new Date(owner.since).toISOString() }, owner };
}

function isSame(one: CordonOwner, other: CordonOwner): boolean {
  return keyOf(one) === keyOf(other) && one.since === other.since && isSameClient(one.id, other.id);
}

function write(entries: readonly Entry[]): string {
  return JSON.stringify(Object.fromEntries(entries.map(({ key, raw }) => [key, raw])));
}

/** The key of an owner's entry. Neither part can contain a slash. */
function keyOf({ namespace, group }: CordonOwner): string {
  return `${namespace}/${group}`;
}
