/**
 * Local times of a time zone as moments, across changes of the clocks, and moments
 * as text. Pure.
 *
 * @module
 */

/**
 * Finds the moment of a local time. A time that comes twice is the first of both; one that a change of the clocks
 * leaves out is the moment of that change.
 *
 * @param timeZone An IANA name.
 * @returns Milliseconds since the epoch.
 */
export function momentOf(local: Temporal.PlainDateTime, timeZone: string): number {
  const earlier = local.toZonedDateTime(timeZone, { disambiguation: "earlier" });
  if (earlier.toPlainDateTime().equals(local)) return earlier.epochMilliseconds;
  // The local time does not exist, and what "earlier" gives is before the gap. "compatible" would shift the time by the
  // length of the gap: 02:15 would become 02:45 where the clocks go from 02:00 to 02:30.
  return earlier.getTimeZoneTransition("next")!.epochMilliseconds;
}

/** The local date of a moment, given in milliseconds since the epoch. */
export function dateOf(moment: number, timeZone: string): Temporal.PlainDate {
  return Temporal.Instant.fromEpochMilliseconds(Math.floor(moment)).toZonedDateTimeISO(timeZone).toPlainDate();
}

/**
 * What was written last, by moment, time zone and precision: all hosts that wait hear of the same few moments again and
 * again.
 */
const written = new Map<string, string>();

/** How many moments are remembered. */
const MAX_WRITTEN = 256;

/** How exactly a moment is written. */
export type Precision = "minute" | "second";

/**
 * Writes a moment for a person, rounded down.
 *
 * @param moment Milliseconds since the epoch.
 * @returns For example `Fri 2026-11-27 22:00 +01:00`, or with seconds `Fri 2026-11-27 22:00:30 +01:00`.
 */
export function describeMoment(moment: number, timeZone: string, precision: Precision = "minute"): string {
  const key = `${moment} ${timeZone} ${precision}`;
  let text = written.get(key);
  if (text === undefined) {
    if (written.size >= MAX_WRITTEN) written.clear();
    written.set(key, text = writeMoment(moment, timeZone, precision));
  }
  return text;
}

function writeMoment(moment: number, timeZone: string, precision: Precision): string {
  const zoned = Temporal.Instant.fromEpochMilliseconds(Math.floor(moment)).toZonedDateTimeISO(timeZone);
  const weekday = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][zoned.dayOfWeek - 1];
  const time = zoned.toPlainTime().toString({ smallestUnit: precision });
  return `${weekday} ${zoned.toPlainDate()} ${time} ${zoned.offset}`;
}
