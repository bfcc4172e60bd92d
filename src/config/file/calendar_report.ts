/**
 * Tells a person when the groups of a configuration file grant slots, and which
 * of their rules about time speak against a grant at a moment.
 *
 * @module
 */

import type { AllowWindow, Freeze, GroupOptions, PolicyOptions } from "../../policies/options.ts";
import type { FileContext } from "./policy_file.ts";

/** What a calendar is made of. */
export interface CalendarInput {
  /** The windows; empty for always. */
  readonly allow: readonly AllowWindow[];
  /** The freezes. */
  readonly freeze: readonly Freeze[];
  /** The IANA name of the time zone. */
  readonly timeZone: string;
  /**
   * How long before the end of a window, and before a freeze, the last slot is granted, where a window does not say.
   */
  readonly cutoffMs: number;
}

/** What is asked of a calendar. Times are milliseconds since the epoch. */
export interface CalendarView {
  /** Lists the next `count` spans in which slots may be granted, cutoffs taken off. */
  openings(from: number, count: number): readonly { readonly from: number; readonly to: number }[];
  /** Says which rules speak against a grant at a moment. */
  at(moment: number): {
    readonly outside?: { readonly until?: number };
    readonly frozen?: { readonly from: number; readonly until: number; readonly reason?: string };
  };
}

/** Makes the calendar of a group. */
export type MakeCalendar = (input: CalendarInput) => CalendarView;

/** How many openings of a group are listed. */
const OPENINGS = 5;

/**
 * Describes the calendars of all groups.
 *
 * @param moment Where the openings begin, and at which the rules are asked, in milliseconds since the epoch.
 */
export function describeCalendars(
  { timeZone, defaults, groups }: PolicyOptions,
  { drainTimeoutMs = 0 }: FileContext,
  moment: number,
  makeCalendar: MakeCalendar,
): string[] {
  const write = (ms: number) => writeMoment(ms, timeZone);
  const named: readonly (readonly [string, GroupOptions])[] = [...groups, ["other groups", defaults]];
  return named.flatMap(([name, { allow, freeze, drain, mode }]) => {
    const calendar = makeCalendar({ allow, freeze, timeZone, cutoffMs: drain.timeoutMs ?? drainTimeoutMs });
    const openings = calendar.openings(moment, OPENINGS).map(({ from, to }) =>
      `  from ${Number.isFinite(from) ? write(from) : "ever"} to ${Number.isFinite(to) ? write(to) : "ever"}`
    );
    const isAlways = allow.length === 0 && freeze.length === 0;
    const { outside, frozen } = calendar.at(moment);
    const speaking = [
      ...(frozen === undefined ? [] : [`  freeze: ${writeFreeze(frozen, write)}`]),
      ...(outside === undefined ? [] : [`  allow: ${writeOutside(outside, write)}`]),
    ];
    const warns = mode === "warn" && speaking.length > 0 ? " (they only warn)" : "";
    return [
      "",
      `${name}, slots are granted${isAlways ? " at any time" : ":"}`,
      ...(isAlways ? [] : openings.length > 0 ? openings : ["  never within a year"]),
      `${name}, rules that speak at ${write(moment)}:${speaking.length === 0 ? " none" : warns}`,
      ...speaking,
    ];
  });
}

function writeFreeze(
  { from, until, reason }: { from: number; until: number; reason?: string },
  write: (ms: number) => string,
): string {
  return `from ${write(from)} to ${write(until)}${reason === undefined ? "" : ` (${reason})`}`;
}

function writeOutside({ until }: { until?: number }, write: (ms: number) => string): string {
  return until === undefined ? "no window opens within a year" : `the next window opens at ${write(until)}`;
}

const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"] as const;

/** Writes a moment with its weekday and offset, such as `Fri 2026-11-27 22:00+01:00`. */
function writeMoment(ms: number, timeZone: string): string {
  const time = Temporal.Instant.fromEpochMilliseconds(Math.round(ms)).toZonedDateTimeISO(timeZone);
  const text = time.toString({ smallestUnit: "minute", timeZoneName: "never" });
  return `${WEEKDAYS[time.dayOfWeek - 1]} ${text.replace("T", " ")}`;
}

/**
 * Parses a time that a person wrote: with an offset or `Z`, or else in the time zone.
 *
 * @returns Milliseconds since the epoch; undefined if the text is not a time.
 */
export function parseMoment(text: string, timeZone: string): number | undefined {
  try {
    if (/(Z|[+-]\d\d:?\d\d)$/i.test(text) && text.includes("T")) return Temporal.Instant.from(text).epochMilliseconds;
    return Temporal.PlainDateTime.from(text, { overflow: "reject" }).toZonedDateTime(timeZone).epochMilliseconds;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
