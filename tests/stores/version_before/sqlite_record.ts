/**
 * A copy of the SQLite codec of the version before groups had notes (commit 8d36cb6), to show that it neither erases
 * nor stumbles over what this version writes. It must not be changed.
 *
 * Converts a group's state to the JSON record in its row and back. It does not
 * use the database. The record is an object with `holders` (see
 * {@link readHolder}), `transitions` and `renewed` (RFC 3339). Fields that this
 * version does not know survive every write.
 *
 * @module
 */

import { MalformedGroupError } from "../../../src/lock/errors.ts";
import type { GroupState, Holder } from "../../../src/lock/semaphore.ts";
import { clampTransitions, readHolder, toMs, writeHolder } from "./holder_record.ts";

/**
 * Converts a record to a state.
 *
 * @throws {MalformedGroupError} The record does not say who holds a slot. It must not be taken for free.
 */
export function recordToState(group: string, record: string): GroupState {
  const { holders, transitions, renewed } = parse(group, record);
  const renewedMs = toMs(renewed);
  return {
    holders: readHolders(group, holders),
    transitions: clampTransitions(transitions),
    ...(renewedMs !== undefined && { renewed: renewedMs }),
  };
}

/**
 * Converts a state to a record.
 *
 * @param base The record to replace, which {@link recordToState} has read; undefined for a new group.
 */
export function stateToRecord(group: string, state: GroupState, base?: string): string {
  const before = base === undefined ? { holders: [] } : parse(group, base);
  const records = new Map(before.holders.map((record) => [readHolder(record)?.id, record]));
  return JSON.stringify({
    ...before,
    holders: state.holders.map((holder) => writeHolder(holder, records.get(holder.id))),
    transitions: clampTransitions(state.transitions),
    renewed: state.renewed === undefined ? undefined : new Date(state.renewed).toISOString(),
  });
}

/** A record whose holders are a list of something. */
interface Parsed extends Readonly<Record<string, unknown>> {
  readonly holders: readonly unknown[];
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
