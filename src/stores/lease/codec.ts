/**
 * Converts a group's state to a Kubernetes Lease and back. It makes no calls.
 * The format is compatible both ways with the Go fleetlock.
 *
 * `spec.holderIdentity` takes precedence over the annotation. So an
 * administrator may edit a Lease, and a program that knows only
 * `holderIdentity` and `leaseTransitions` may use the same Lease.
 *
 * @module
 */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import type { V1LeaseSpec } from "@kubernetes/client-node/dist/gen/models/V1LeaseSpec.js";
import { microTime } from "../../kubernetes/micro_time.ts";
import { type ClientId, type Group, parseGroup } from "../../lock/identity.ts";
import type { DrainPhase, GroupState, HeldNode, Holder } from "../../lock/semaphore.ts";

/**
 * The annotation with the holders: a JSON array of objects with `id` and `since`
 * (RFC 3339), and with `node`, `bootId` and `phase` where the node is known.
 */
export const HOLDERS_ANNOTATION = "fleetlock.internal/holders";

/** The annotation with the group, where the Lease's name encodes it. It is for people; the program does not read it. */
export const GROUP_ANNOTATION = "fleetlock.internal/group";

const PLAIN_PREFIX = "fleetlock-";

/** The prefix of encoded names. Plain names never start with it, since "-" follows "fleetlock" in them. */
const ENCODED_PREFIX = "fleetlock.x";

/** Every {@link DrainPhase}. */
const PHASES: ReadonlySet<unknown> = new Set<DrainPhase>(["draining", "drained", "failed"]);

/** The names that the API server accepts for a Lease: RFC 1123 subdomains. */
const VALID_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/**
 * Names the Lease of a group. The name is `fleetlock-GROUP`, as in the Go
 * program, where that is valid. Otherwise (upper case, or a dot or dash in the
 * wrong place) it is `fleetlock.x` and the group, in which every character
 * except lower-case letters and digits is written as `-` and two hexadecimal
 * digits. Two groups never share a name.
 *
 * @returns At most 200 characters.
 */
export function leaseName(group: Group): string {
  const plain = PLAIN_PREFIX + group;
  if (VALID_NAME.test(plain)) return plain;
  return ENCODED_PREFIX + group.replace(/[^a-z0-9]/g, (char) => "-" + char.charCodeAt(0).toString(16));
}

/**
 * Finds the group of a Lease by the Lease's name.
 *
 * @returns Undefined if the Lease belongs to another program.
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
 * Converts a Lease to a state.
 *
 * - Every id in `holderIdentity` is a holder, even one that a client cannot have
 *   ("maintenance window"). It occupies a slot until someone removes it.
 * - Ids that stand only in the annotation are not holders. A holder that the
 *   annotation lacks has held since `spec.acquireTime`, or else since the Lease
 *   was last changed, or else since the Lease was created.
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
 * Converts a state to a Lease.
 *
 * @param base The Lease to replace. Everything else in it is kept, including the
 * resourceVersion. Undefined to create a Lease.
 */
export function stateToLease(group: Group, namespace: string, state: GroupState, base?: V1Lease): V1Lease {
  const name = leaseName(group);
  const grants = state.holders.map((holder) => holder.since);
  const spec: V1LeaseSpec = {
    ...base?.spec,
    holderIdentity: state.holders.map((holder) => holder.id).join(","),
    leaseTransitions: state.transitions,
    acquireTime: grants.length === 0 ? undefined : writeTime(Math.min(...grants)),
    renewTime: state.renewed === undefined ? undefined : writeTime(state.renewed),
  };
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: {
      ...base?.metadata,
      name,
      namespace,
      // Longer than all the rest, and the server keeps them where they are left out.
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

/** Converts a holder to its form in the annotation. */
function writeHolder({ id, since, node }: Holder): unknown {
  return { id, since: new Date(since).toISOString(), node: node?.name, bootId: node?.bootId, phase: node?.phase };
}

/** Converts a holder from its form in the annotation; undefined if it is malformed. */
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
    // Someone edited it by hand. holderIdentity takes precedence.
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

/** Reads a time, in milliseconds since the epoch. The client library types some strings as dates. */
function toMs(time: unknown): number | undefined {
  const ms = time instanceof Date ? time.getTime() : typeof time === "string" ? Date.parse(time) : NaN;
  // Ignore a time that could not be written back, such as a year of five digits set by hand.
  return ms >= 0 && ms <= MAX_MS ? ms : undefined;
}

/** Writes a time. The client library types it as a date, and sends a string as it is. */
function writeTime(ms: number): NonNullable<V1LeaseSpec["acquireTime"]> {
  return microTime(ms) as unknown as NonNullable<V1LeaseSpec["acquireTime"]>;
}
