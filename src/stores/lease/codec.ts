/**
 * What a group's state looks like as a Kubernetes Lease, and back: pure, and
 * compatible both ways with the Go fleetlock. It makes no calls.
 *
 * `spec.holderIdentity` has the last word over the annotation, so an
 * administrator who edits a Lease is obeyed, and a program that knows only
 * `holderIdentity` and `leaseTransitions` may share it.
 *
 * @module
 */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import type { V1LeaseSpec } from "@kubernetes/client-node/dist/gen/models/V1LeaseSpec.js";
import { type ClientId, type Group, parseGroup } from "../../lock/identity.ts";
import type { DrainPhase, GroupState, HeldNode, Holder } from "../../lock/semaphore.ts";

/**
 * The annotation with the holders: a JSON array of objects, each with `id` and
 * `since` (RFC 3339), and where its node is known with `node`, `bootId` and `phase`.
 */
export const HOLDERS_ANNOTATION = "fleetlock.internal/holders";

/** The annotation with the group, where the Lease's name is not simply made of it. For people; nothing reads it. */
export const GROUP_ANNOTATION = "fleetlock.internal/group";

const PLAIN_PREFIX = "fleetlock-";

/** No plain name starts so: what follows "fleetlock" there is always "-". */
const ENCODED_PREFIX = "fleetlock.x";

/** Every {@link DrainPhase}. */
const PHASES: ReadonlySet<unknown> = new Set<DrainPhase>(["draining", "drained", "failed"]);

/** What the API server takes as a Lease's name: an RFC 1123 subdomain. */
const VALID_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/**
 * Names the Lease of a group: `fleetlock-GROUP` as the Go program does, where
 * that is a valid name. Otherwise (upper case, a dot or dash in the wrong place)
 * `fleetlock.x` and the group with everything but lower-case letters and digits
 * written as `-` and its two hexadecimal digits. So no two groups share a name.
 *
 * @returns At most 200 characters.
 */
export function leaseName(group: Group): string {
  const plain = PLAIN_PREFIX + group;
  if (VALID_NAME.test(plain)) return plain;
  return ENCODED_PREFIX + group.replace(/[^a-z0-9]/g, (char) => "-" + char.charCodeAt(0).toString(16));
}

/**
 * The group of a Lease, by its name.
 *
 * @returns Undefined where the Lease is none of ours.
 */
export function groupOfLease(lease: V1Lease): Group | undefined {
  const name = lease.metadata?.name ?? "";
  const decoded = name.startsWith(PLAIN_PREFIX)
    ? name.slice(PLAIN_PREFIX.length)
    : name.startsWith(ENCODED_PREFIX)
    ? name.slice(ENCODED_PREFIX.length)
      .replace(/-([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    : undefined;
  const group = parseGroup(decoded);
  return group !== undefined && leaseName(group) === name ? group : undefined;
}

/**
 * Reads a Lease.
 *
 * - Every id in `holderIdentity` is a holder, also one that no client could have
 *   ("maintenance window"): it occupies a slot until someone takes it out.
 * - Ids that only the annotation has are no holders. Where the annotation lacks
 *   one, it has held since `spec.acquireTime`, else since the Lease was last
 *   changed, else since it was made.
 */
export function leaseToState(lease: V1Lease): GroupState {
  const { spec = {} } = lease;
  const known = readHolders(lease.metadata?.annotations?.[HOLDERS_ANNOTATION]);
  const ids = new Set((spec.holderIdentity ?? "").split(",").map((id) => id.trim()).filter((id) => id !== ""));
  const holders = [...ids].map((id) => known.get(id) ?? { id: id as ClientId, since: guessSince(lease) });
  const renewed = toMs(spec.renewTime);
  return {
    holders,
    transitions: spec.leaseTransitions ?? 0,
    ...(renewed !== undefined && { renewed }),
  };
}

/**
 * Writes a state as a Lease.
 *
 * @param base The Lease that it replaces, of which everything else is kept, the
 * resourceVersion included; undefined to make a new one.
 */
export function stateToLease(group: Group, namespace: string, state: GroupState, base?: V1Lease): V1Lease {
  const name = leaseName(group);
  const grants = state.holders.map((holder) => holder.since);
  const spec: V1LeaseSpec = {
    ...base?.spec,
    holderIdentity: state.holders.map((holder) => holder.id).join(","),
    leaseTransitions: state.transitions,
    acquireTime: grants.length === 0 ? undefined : toMicroTime(Math.min(...grants)),
    renewTime: state.renewed === undefined ? undefined : toMicroTime(state.renewed),
  };
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: {
      ...base?.metadata,
      name,
      namespace,
      // Left out, the server keeps them; they are longer than all the rest.
      managedFields: undefined,
      annotations: {
        ...base?.metadata?.annotations,
        ...(name !== PLAIN_PREFIX + group && { [GROUP_ANNOTATION]: group }),
        [HOLDERS_ANNOTATION]: JSON.stringify(state.holders.map(writeHolder)),
      },
    },
    spec,
  };
}

/** A holder as it stands in the annotation. */
function writeHolder({ id, since, node }: Holder): unknown {
  return { id, since: new Date(since).toISOString(), node: node?.name, bootId: node?.bootId, phase: node?.phase };
}

/** Reads a holder of the annotation; undefined where it makes no sense. */
function readHolder(raw: unknown): Holder | undefined {
  if (typeof raw !== "object" || raw === null) return undefined;
  const { id, since, node, bootId, phase } = raw as Record<string, unknown>;
  const sinceMs = toMs(since);
  if (typeof id !== "string" || sinceMs === undefined) return undefined;
  const held = readNode(node, bootId, phase);
  return { id: id as ClientId, since: sinceMs, ...(held && { node: held }) };
}

function readNode(name: unknown, bootId: unknown, phase: unknown): HeldNode | undefined {
  if (typeof name !== "string" || !PHASES.has(phase)) return undefined;
  return { name, ...(typeof bootId === "string" && { bootId }), phase: phase as DrainPhase };
}

function readHolders(annotation: string | undefined): Map<string, Holder> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(annotation ?? "[]");
  } catch {
    // Edited by hand; holderIdentity is what counts.
  }
  const holders = Array.isArray(parsed) ? parsed.map(readHolder).filter((holder) => holder !== undefined) : [];
  return new Map(holders.map((holder) => [holder.id, holder]));
}

function guessSince(lease: V1Lease): number {
  const changes = (lease.metadata?.managedFields ?? []).map((entry) => toMs(entry.time) ?? 0);
  const changed = Math.max(0, ...changes) || undefined;
  return toMs(lease.spec?.acquireTime) ?? changed ?? toMs(lease.metadata?.creationTimestamp) ?? 0;
}

/** The end of the year 9999. */
const MAX_MS = Date.UTC(10_000, 0) - 1;

/** Milliseconds since the epoch. The client library gives some times as strings although it types them as dates. */
function toMs(time: unknown): number | undefined {
  const ms = time instanceof Date ? time.getTime() : typeof time === "string" ? Date.parse(time) : NaN;
  // What cannot be written back (a year of five digits, by hand) is no time.
  return ms >= 0 && ms <= MAX_MS ? ms : undefined;
}

/** What the API calls MicroTime: RFC 3339 with six digits. The class of that name would bring nothing but this. */
function toMicroTime(ms: number): NonNullable<V1LeaseSpec["acquireTime"]> {
  const text = new Date(ms).toISOString().replace("Z", "000Z");
  return text as unknown as NonNullable<V1LeaseSpec["acquireTime"]>;
}
