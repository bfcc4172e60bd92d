/**
 * What is noted with a group for the policies, as every store writes it: `notes`, an
 * object with `returned` (RFC 3339) and `deferred` (a list of objects with `id`,
 * `node`, `until`, `count` and `pods`), which the program keeps; and `paused`, an
 * object with `reason`, `by`, `until` (RFC 3339 with an offset) and `drains`, or a
 * text that is the reason, which people set. Both have whatever a later version
 * adds. It does not know where the two are kept.
 *
 * What this version does not understand is never taken for "nothing": it reads as
 * a pause that says so. It survives every write, until somebody puts
 * another pause in its place, or none.
 *
 * @module
 */

import type { ClientId } from "../lock/identity.ts";
import { type Deferral, type GroupNotes, MAX_DEFERRALS, type Pause } from "../lock/policy.ts";

/** The two values of a store. Undefined where it has none. */
export interface NotesRecord {
  /** What the program notes. */
  readonly notes?: unknown;
  /** The pause. */
  readonly paused?: unknown;
}

/** A time with an offset: one without would be another moment for each reader. */
const TIME = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$/;

/** The end of the year 9999. */
const MAX_MS = Date.UTC(10_000, 0) - 1;

/** How much of each text is written, in characters. */
const MAX_TEXT = 253;

/** How many pods of a deferral are written. */
const MAX_PODS = 5;

/** How many bytes of JSON the deferrals have at most. A Lease has room for 262,144 bytes of annotations in all. */
const MAX_DEFERRED_BYTES = 64 * 1024;

/**
 * Reads what is noted.
 *
 * @returns Undefined where nothing is.
 */
export function readNotes(record: NotesRecord): GroupNotes | undefined {
  const noted = readNoted(record.notes);
  const pause = readPause(record.paused);
  if (noted === "unreadable") {
    // It pauses without end, whatever else is said.
    const { until: _, reason, ...rest } = pause ?? {};
    const why = "what is noted for its policies cannot be read";
    return { pause: { ...rest, ...unreadable(reason === undefined ? why : `${reason} (${why})`) } };
  }
  const notes = { ...noted, ...(pause !== undefined && { pause }) };
  return Object.keys(notes).length === 0 ? undefined : notes;
}

/**
 * Makes the record of what is noted.
 *
 * @param base What is replaced. Where it says the same, it is kept as it is, and so is what cannot be read in it while
 * the notes have the pause that stands for it.
 */
export function writeNotes(notes: GroupNotes | undefined, base: NotesRecord): NotesRecord {
  const { pause, ...noted } = notes ?? {};
  const before = readNotes(base);
  const keepsPause = isSame(pause, before?.pause);
  const notedBefore = readNoted(base.notes);
  const keepsNoted = notedBefore === "unreadable" ? keepsPause : isSame(said(noted), said(notedBefore));
  return {
    notes: keepsNoted ? base.notes : writeNoted(noted, notedBefore === "unreadable" ? undefined : base.notes),
    paused: keepsPause ? base.paused : writePause(pause, base.paused),
  };
}

/**
 * Takes a value out of a text that is JSON, or that a person wrote.
 *
 * @returns The object that it is the JSON of; otherwise the text itself.
 */
export function fromText(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(text);
    return isObject(parsed) ? parsed : text;
  } catch {
    return text;
  }
}

/** The opposite of {@link fromText}. An object that was taken out of `base` is the same text again. */
export function toText(value: unknown, base: { readonly value: unknown; readonly text?: string }): string | undefined {
  if (value === base.value) return base.text;
  return value === undefined || typeof value === "string" ? value : JSON.stringify(value);
}

type Noted = Omit<GroupNotes, "pause">;

function readNoted(notes: unknown): Noted | "unreadable" {
  if (notes === undefined) return {};
  if (!isObject(notes)) return "unreadable";
  const { returned, deferred = [] } = notes;
  const returnedMs = toMs(returned);
  if (returned !== undefined && returnedMs === undefined) return "unreadable";
  if (!Array.isArray(deferred)) return "unreadable";
  const entries = deferred.map(readDeferral);
  if (!entries.every((entry) => entry !== undefined)) return "unreadable";
  // Of two entries about one host, the last one counts, as in everything that is written by hand.
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  return {
    ...(returnedMs !== undefined && { returned: returnedMs }),
    ...(byId.size > 0 && { deferred: [...byId.values()] }),
  };
}

function readDeferral(entry: unknown): Deferral | undefined {
  if (!isObject(entry)) return undefined;
  const { id, node, until, count = 1, pods = [] } = entry;
  const untilMs = toMs(until);
  if (typeof id !== "string" || id === "" || typeof node !== "string" || untilMs === undefined) return undefined;
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1) return undefined;
  if (!Array.isArray(pods) || !pods.every((pod) => typeof pod === "string")) return undefined;
  return { id: id as ClientId, node, until: untilMs, count, pods };
}

function readPause(paused: unknown): Pause | undefined {
  if (paused === undefined) return undefined;
  if (typeof paused === "string") return readPausedText(paused);
  if (!isObject(paused)) return unreadable("its pause is neither a text nor an object");
  const { reason, by, until, drains } = paused;
  const untilMs = toMs(until);
  const wrong = [
    ...(reason === undefined || typeof reason === "string" ? [] : ['"reason" is not a text']),
    ...(by === undefined || typeof by === "string" ? [] : ['"by" is not a text']),
    ...(until === undefined || untilMs !== undefined ? [] : ['"until" is not a time such as 2026-12-24T18:00:00Z']),
    ...(drains === undefined || typeof drains === "boolean" ? [] : ['"drains" is not true or false']),
  ];
  const words = typeof reason === "string" ? reason : undefined;
  const pause: Pause = {
    ...(words !== undefined && { reason: words }),
    ...(typeof by === "string" && { by }),
  };
  if (wrong.length > 0) {
    const why = `its pause cannot be read: ${wrong.join(", ")}`;
    return { ...pause, ...unreadable(words === undefined ? why : `${words} (${why})`) };
  }
  return {
    ...pause,
    ...(untilMs !== undefined && { until: untilMs }),
    ...(typeof drains === "boolean" && { drains }),
  };
}

/** Whatever a person wrote pauses, `false` and nothing at all included: who lifts a pause removes it. */
function readPausedText(text: string): Pause {
  const reason = text.trim();
  if (/^[[{]/.test(reason)) return unreadable("its pause looks like JSON and cannot be read as an object");
  return reason === "" ? {} : { reason };
}

function unreadable(reason: string): Pause {
  return { reason, isUnreadable: true };
}

function writeNoted(noted: Noted, base: unknown): unknown {
  const before = isObject(base) ? base : {};
  const { returned: _, deferred: __, ...extra } = before;
  const entries = Array.isArray(before.deferred) ? before.deferred : [];
  const records = new Map(entries.map((entry) => [readDeferral(entry)?.id, entry as Record<string, unknown>]));
  const kept = (noted.deferred ?? []).slice(-MAX_DEFERRALS).map((one) => writeDeferral(one, records.get(one.id)));
  const deferred = lastThatFit(kept);
  const written = {
    ...(noted.returned !== undefined && { returned: new Date(noted.returned).toISOString() }),
    ...(deferred.length > 0 && { deferred }),
    ...extra,
  };
  return Object.keys(written).length === 0 ? undefined : written;
}

/** The last entries, as many as fit in {@link MAX_DEFERRED_BYTES}. */
function lastThatFit(entries: readonly unknown[]): unknown[] {
  const encoder = new TextEncoder();
  let room = MAX_DEFERRED_BYTES;
  const first = entries.findLastIndex((entry) => (room -= encoder.encode(JSON.stringify(entry)).length + 1) < 0);
  return entries.slice(first + 1);
}

function writeDeferral(deferral: Deferral, base: Record<string, unknown> | undefined): unknown {
  if (base !== undefined && isSame(readDeferral(base), deferral)) return base;
  const { id, node, until, count, pods } = deferral;
  return {
    ...base,
    id,
    node: cut(node),
    until: new Date(until).toISOString(),
    count,
    pods: pods.slice(0, MAX_PODS).map(cut),
  };
}

function writePause(pause: Pause | undefined, base: unknown): unknown {
  if (pause === undefined) return undefined;
  const { reason: _, by: __, until: ___, drains: ____, ...extra } = isObject(base) ? base : {};
  const { reason, by, until, drains } = pause;
  return {
    ...(reason !== undefined && { reason }),
    ...(by !== undefined && { by }),
    ...(until !== undefined && { until: new Date(until).toISOString() }),
    ...(drains !== undefined && { drains }),
    ...extra,
  };
}

/** Compares data, whatever the order of its fields. */
function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
}

function sorted(value: unknown): unknown {
  return isObject(value) ? Object.entries(value).sort(([one], [other]) => one < other ? -1 : 1) : value;
}

/** What is said of the program's notes, in one form. */
function said(noted: Noted | "unreadable"): unknown {
  if (noted === "unreadable") return noted;
  return [noted.returned, (noted.deferred ?? []).map((one) => [one.id, one.node, one.until, one.count, one.pods])];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function cut(text: string): string {
  return text.slice(0, MAX_TEXT).toWellFormed();
}

/** Reads a time, in milliseconds since the epoch. */
function toMs(time: unknown): number | undefined {
  const ms = typeof time === "string" && TIME.test(time) ? Date.parse(time) : NaN;
  return ms >= 0 && ms <= MAX_MS ? ms : undefined;
}
