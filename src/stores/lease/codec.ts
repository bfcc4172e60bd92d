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
import type { GroupState, Holder } from "../../lock/semaphore.ts";
import { clampTransitions, type ReadHolder, readHolder, toMs, writeHolder } from "../holder_record.ts";
import { fromText, type NotesRecord, readNotes, toText, writeNotes } from "../notes_record.ts";

/** The annotation with the holders: a JSON array of the records that {@link readHolder} reads. */
export const HOLDERS_ANNOTATION = "fleetlock.internal/holders";

/** The annotation with what the program notes for the policies: JSON, `notes` of a {@link NotesRecord}. */
export const NOTES_ANNOTATION = "fleetlock.internal/notes";

/** The annotation by which a person pauses the group: JSON, or the reason in words. See {@link NotesRecord}. */
export const PAUSED_ANNOTATION = "fleetlock.internal/paused";

/** The annotation with the group, where the Lease's name encodes it. It is for people; the program does not read it. */
export const GROUP_ANNOTATION = "fleetlock.internal/group";

/** The prefix of the names of our annotations. */
const OUR_ANNOTATIONS = "fleetlock.internal/";

const PLAIN_PREFIX = "fleetlock-";

/** The prefix of encoded names. Plain names never start with it, since "-" follows "fleetlock" in them. */
const ENCODED_PREFIX = "fleetlock.x";

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
 * Checks whether a Lease is the record that another fleetlock keeps of the drain
 * of a node, and not a lock. A request for a group of that name still obeys it.
 */
export function isForeignDrainRecord(lease: V1Lease): boolean {
  const { name = "", annotations = {} } = lease.metadata ?? {};
  return name.startsWith(`${PLAIN_PREFIX}drain-`) && lease.spec?.holderIdentity === "done" &&
    !Object.keys(annotations).some((key) => key.startsWith(OUR_ANNOTATIONS));
}

/**
 * Converts a Lease to a state.
 *
 * - Every id in `holderIdentity` is a holder, even one that a client cannot have
 *   ("maintenance window"). It occupies a slot until someone removes it.
 * - Ids that stand only in the annotation are not holders.
 * - The holders that the annotation has come first, in its order; then those that
 *   it lacks. So an id that somebody adds by hand never comes before one that
 *   was granted a slot.
 * - See {@link guessSince} for the time of a holder that the annotation lacks.
 * - A holder that the annotation lacks has no node noted, as one of the Go
 *   program, or one whom an administrator added. But where the annotation is not
 *   understood as a whole, its node is unreadable.
 */
export function leaseToState(lease: V1Lease): GroupState {
  const { spec = {} } = lease;
  const noted = readAnnotation(lease);
  const ids = new Set((spec.holderIdentity ?? "").split(",").map((id) => id.trim()).filter((id) => id !== ""));
  const ordered = new Set([...noted.records.keys()].filter((id) => ids.has(id))).union(ids);
  const holders = [...ordered].map((id) => toHolder(id as ClientId, noted, () => guessSince(lease, ids.size)));
  const renewed = toMs(spec.renewTime);
  const notes = readNotes(notesOf(lease.metadata?.annotations));
  return {
    holders,
    transitions: clampTransitions(spec.leaseTransitions),
    ...(renewed !== undefined && { renewed }),
    ...(notes !== undefined && { notes }),
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
  const { records } = readAnnotation(base);
  const spec: V1LeaseSpec = {
    ...base?.spec,
    holderIdentity: state.holders.map((holder) => holder.id).join(","),
    leaseTransitions: clampTransitions(state.transitions),
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
      annotations: withNotes({
        ...base?.metadata?.annotations,
        ...(name !== PLAIN_PREFIX + group && { [GROUP_ANNOTATION]: group }),
        [HOLDERS_ANNOTATION]: JSON.stringify(
          state.holders.map((holder) => writeHolder(holder, records.get(holder.id))),
        ),
      }, state.notes),
    },
    spec,
  };
}

/** The annotations of a Lease. */
type Annotations = Readonly<Record<string, string>>;

function notesOf({ [NOTES_ANNOTATION]: notes, [PAUSED_ANNOTATION]: paused }: Annotations = {}): NotesRecord {
  return { notes: fromText(notes), paused: fromText(paused) };
}

/** Writes what is noted over what the annotations of the Lease say of it. */
function withNotes(base: Annotations, state: GroupState["notes"]): Record<string, string> {
  const { [NOTES_ANNOTATION]: notes, [PAUSED_ANNOTATION]: paused, ...rest } = base;
  const before = notesOf(base);
  const written = writeNotes(state, before);
  const texts = {
    [NOTES_ANNOTATION]: toText(written.notes, { value: before.notes, text: notes }),
    [PAUSED_ANNOTATION]: toText(written.paused, { value: before.paused, text: paused }),
  };
  const kept = Object.entries(texts).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { ...rest, ...Object.fromEntries(kept) };
}

/** What the annotation says. */
interface Annotation {
  /** The record of each id; an id with several has the last one. */
  readonly records: ReadonlyMap<string, unknown>;
  /** The ids with several records, which may contradict each other. */
  readonly doubled: ReadonlySet<string>;
  /** Whether everything in it is somebody's record. What is nobody's may be about any holder. */
  readonly isWhole: boolean;
}

function readAnnotation(lease: V1Lease | undefined): Annotation {
  const records = new Map<string, unknown>();
  const doubled = new Set<string>();
  let parsed: unknown;
  try {
    parsed = JSON.parse(lease?.metadata?.annotations?.[HOLDERS_ANNOTATION] ?? "[]");
  } catch {
    // Someone edited it by hand. holderIdentity takes precedence.
  }
  if (!Array.isArray(parsed)) return { records, doubled, isWhole: false };
  let isWhole = true;
  for (const record of parsed) {
    const id = readHolder(record)?.id;
    if (id === undefined) isWhole = false;
    else if (records.has(id)) doubled.add(id);
    if (id !== undefined) records.set(id, record);
  }
  return { records, doubled, isWhole };
}

function toHolder(id: ClientId, { records, doubled, isWhole }: Annotation, guess: () => number): Holder {
  const noted: ReadHolder = readHolder(records.get(id)) ?? { id, ...(!isWhole && { isNodeUnreadable: true }) };
  const holder = { ...noted, since: noted.since ?? guess() };
  if (!doubled.has(id)) return holder;
  const { node: _, ...rest } = holder;
  return { ...rest, isNodeUnreadable: true };
}

/**
 * Guesses since when a holder holds that the annotation lacks. Where there is no
 * annotation and one holder, `spec.acquireTime` is that holder's, as the Go
 * program writes it. Otherwise it may be the time of another holder, and
 * somebody changed this one's record later: at the last change of the Lease at
 * the latest. A drain that runs into its time-out because of an earlier guess
 * would delete pods too early.
 */
function guessSince({ metadata = {}, spec = {} }: V1Lease, holders: number): number {
  const changes = (metadata.managedFields ?? []).map((entry) => toMs(entry.time) ?? 0);
  const changed = Math.max(0, ...changes) || undefined;
  const acquired = toMs(spec.acquireTime);
  const isHolders = holders === 1 && metadata.annotations?.[HOLDERS_ANNOTATION] === undefined;
  const guess = isHolders ? acquired ?? changed : changed ?? toMs(spec.renewTime) ?? acquired;
  return guess ?? toMs(metadata.creationTimestamp) ?? 0;
}

/** Writes a time. The client library types it as a date, and sends a string as it is. */
function writeTime(ms: number): NonNullable<V1LeaseSpec["acquireTime"]> {
  return microTime(ms) as unknown as NonNullable<V1LeaseSpec["acquireTime"]>;
}
