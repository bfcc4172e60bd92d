/**
 * The texts that a configuration file can hold, in both directions: a parser and
 * a formatter for each kind. They know no key, and read nothing but the text.
 *
 * @module
 */

import type { AllowWindow, Amount, Weekday, WindowDay } from "../../policies/options.ts";
import { duration, type ValueParser } from "../values.ts";

/** Parses one kind of text. */
export interface TextParser<T> extends ValueParser<T> {
  /** A regular expression that every valid text matches, for editors. It may match others too. */
  readonly pattern: RegExp;
}

/** A duration from 1 ms to 596 hours. In milliseconds. */
export const positiveDuration: TextParser<number> = { ...duration, pattern: /^(\d{1,9}(\.\d+)?(ms|s|m|h))+$/ };

/** A duration up to 596 hours, or 0 with any unit. In milliseconds. */
export const durationOrZero: TextParser<number> = {
  ...positiveDuration,
  expected: "a duration from 0s to 596h, as in 90s, 15m or 1h30m",
  parse: (raw) => /^0(ms|s|m|h)$/.test(raw) ? 0 : duration.parse(raw),
};

const UNITS = [["h", 3_600_000], ["m", 60_000], ["s", 1_000]] as const;

/** Writes a duration in milliseconds, such as `1h30m`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(ms / size);
    if (count > 0) parts.push(`${count}${unit}`);
    ms -= count * size;
  }
  if (ms > 0) parts.push(`${ms}ms`);
  return parts.join("");
}

/** A percentage from 0% to 100%. */
export const percentage: TextParser<Amount> = {
  expected: "a percentage from 0% to 100%",
  pattern: /^(100(\.0+)?|\d{1,2}(\.\d+)?)%$/,
  parse(raw) {
    return percentage.pattern.test(raw) ? { kind: "percent", value: Number(raw.slice(0, -1)) } : undefined;
  },
};

/** Writes an amount as a number or a percentage. */
export function formatAmount({ kind, value }: Amount): number | string {
  return kind === "percent" ? `${value}%` : value;
}

/** A time of day, `00:00` to `23:59`. */
export const timeOfDay: TextParser<AllowWindow["at"]> = {
  expected: 'a time of day from 00:00 to 23:59, as in "22:00"',
  pattern: /^([01]\d|2[0-3]):[0-5]\d$/,
  parse(raw) {
    return timeOfDay.pattern.test(raw) ? { hour: Number(raw.slice(0, 2)), minute: Number(raw.slice(3)) } : undefined;
  },
};

/** Writes a time of day, such as `22:00`. */
export function formatTimeOfDay({ hour, minute }: AllowWindow["at"]): string {
  return `${`${hour}`.padStart(2, "0")}:${`${minute}`.padStart(2, "0")}`;
}

const WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
const ORDINALS = ["1st", "2nd", "3rd", "4th", "5th"] as const;

/** A weekday, every one or one of a month. */
export const windowDay: TextParser<WindowDay> = {
  expected: 'a weekday, as in fri, "2nd tue" or "last sun" (mon, tue, wed, thu, fri, sat, sun)',
  pattern: new RegExp(`^((${ORDINALS.join("|")}|last) )?(${WEEKDAYS.join("|")})$`),
  parse(raw) {
    const match = windowDay.pattern.exec(raw);
    if (match === null) return undefined;
    const weekday = WEEKDAYS.findIndex((day) => day === match[3]) + 1 as Weekday;
    if (match[2] === undefined) return { kind: "weekly", weekday };
    const nth = ORDINALS.findIndex((ordinal) => ordinal === match[2]) + 1 as 0 | 1 | 2 | 3 | 4 | 5;
    return { kind: "monthly", weekday, nth: nth === 0 ? "last" : nth };
  },
};

/** Writes a weekday, such as `2nd tue`. */
export function formatWindowDay(day: WindowDay): string {
  const name = WEEKDAYS[day.weekday - 1]!;
  if (day.kind === "weekly") return name;
  return `${day.nth === "last" ? "last" : ORDINALS[day.nth - 1]} ${name}`;
}

/** A local date or date and time, kept as it is written. */
export const localMoment: TextParser<string> = {
  expected: "a date or a date and time, as in 2026-12-20 or 2026-12-20T18:00",
  pattern: /^\d{4}-\d\d-\d\d(T([01]\d|2[0-3]):[0-5]\d)?$/,
  parse(raw) {
    if (!localMoment.pattern.test(raw)) return undefined;
    try {
      Temporal.PlainDateTime.from(raw, { overflow: "reject" });
      return raw;
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  },
};

/** Whether a time ends after it begins, given as {@link localMoment} takes it. A date ends with its last moment. */
export function endsAfter(from: string, to: string): boolean {
  return to.includes("T") ? (from.includes("T") ? from : `${from}T00:00`) < to : from.slice(0, 10) <= to;
}

/** The name of a time zone. */
export const timeZone: TextParser<string> = {
  expected: "the name of a time zone, as in UTC or Europe/Berlin",
  pattern: /^[A-Za-z][\w+/-]*$/,
  parse(raw) {
    if (!timeZone.pattern.test(raw)) return undefined;
    try {
      Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(raw);
      return raw;
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  },
};

/** An `http:` or `https:` URL without a user, a query or a fragment. A password in it would be logged and shown. */
export const httpUrl: TextParser<string> = {
  expected:
    "an http or https URL without a user (use tokenFile), a query or a fragment, as in http://prometheus.monitoring:9090",
  pattern: /^https?:\/\/[^\s?#@]+$/,
  parse: (raw) => httpUrl.pattern.test(raw) && URL.canParse(raw) ? raw : undefined,
};

/** A regular expression. */
export const regularExpression: TextParser<string> = {
  expected: 'a regular expression, as in "^Ceph.*"',
  pattern: /./,
  parse(raw) {
    try {
      new RegExp(raw);
      return raw === "" ? undefined : raw;
    } catch (error) {
      if (error instanceof SyntaxError) return undefined;
      throw error;
    }
  },
};

/** A text that is not empty. */
export function someText(expected: string): TextParser<string> {
  return { expected, pattern: /\S/, parse: (raw) => raw.trim() === "" ? undefined : raw };
}
