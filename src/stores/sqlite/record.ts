/**
 * Converts a group's state to the JSON record in its row and back. It does not
 * use the database. The record is an object with `holders` (see
 * {@link readHolder}), `transitions`, `renewed` (RFC 3339), and `notes` and `paused`
 * (see {@link readNotes}). Fields that this
 * version does not know survive every write.
 *
 * @module
 */

import { MalformedGroupError } from "../../lock/errors.ts";
import type { GroupState, Holder } from "../../lock/semaphore.ts";
import { clampTransitions, readHolder, toMs, writeHolder } from "../holder_record.ts";
import { readNotes, writeNotes } from "../notes_record.ts";

/**
 * Converts a record to a state.
 *
 * @throws {MalformedGroupError} The record does not say who holds a slot. It must not be taken for free.
 */
export function recordToState(group: string, record: string): GroupState {
  const parsed = parse(group, record);
  const { holders, transitions, renewed } = parsed;
  const renewedMs = toMs(renewed);
  const noted = readNotes(parsed);
  return {
    holders: readHolders(group, holders),
    transitions: clampTransitions(transitions),
    ...(renewedMs !== undefined && { renewed: renewedMs }),
    ...(noted !== undefined && { notes: noted }),
  };
}

/**
 * Converts a state to a record.
 *
 * @param base The record to replace, which {@link recordToState} has read; undefined for a new group.
 */
export function stateToRecord(group: string, state: GroupState, base?: string): string {
  const before: Parsed = base === undefined ? { holders: [] } : parse(group, base);
  const records = new Map(before.holders.map((record) => [readHolder(record)?.id, record]));
  return JSON.stringify({
    ...before,
    holders: state.holders.map((holder) => writeHolder(holder, records.get(holder.id))),
    transitions: clampTransitions(state.transitions),
    renewed: state.renewed === undefined ? undefined : new Date(state.renewed).toISOString(),
    ...writeNotes(state.notes, before),
  });
}

/** A record whose holders are a list of something. */
interface Parsed extends Readonly<Record<string, unknown>> {
  readonly holders: readonly unknown[];
  readonly notes?: unknown;
  readonly paused?: unknown;
}

function parse(group: string, record: string): Parsed {
  let parsed: unknown;
  try {
    parsed = JSON.parse(record);
  } catch (error) {
    throw new MalformedGroupError(group, "it is not JSON", { cause: error });
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new MalformedGroupError(group, "it is not a JSON object");
  }
  if (!("holders" in parsed) || !Array.isArray(parsed.holders)) {
    throw new MalformedGroupError(group, 'its "holders" is not a list');
  }
  return parsed as Parsed;
}

function readHolders(group: string, records: readonly unknown[]): Holder[] {
  const ids = new Set<string>();
  return records.map((record, index) => {
    const place = `holder ${index + 1} of ${records.length}`;
    const holder = readHolder(record);
    if (holder === undefined) throw new MalformedGroupError(group, `${place} is not an object with an "id"`);
    const { since } = holder;
    if (since === undefined) throw new MalformedGroupError(group, `${place} has no time in "since"`);
    if (ids.has(holder.id)) throw new MalformedGroupError(group, `${place} is in the list twice`);
    ids.add(holder.id);
    return { ...holder, since };
  });
}
