/**
 * When a group's windows and freezes let it grant slots. It goes by the time that
 * it is given and knows nothing of locks. Pure.
 *
 * @see https://tc39.es/proposal-temporal/docs/
 * @module
 */

import { dateOf, momentOf } from "./local_time.ts";
import type { AllowWindow, Freeze, WindowDay } from "./options.ts";
import { ALWAYS, contains, intersect, type Span, subtract, union } from "./spans.ts";

/** How a window or freeze of a group is read. */
export interface CalendarOptions {
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

/** What the calendar says of a moment. */
export interface CalendarAnswer {
  /** The moments for which all of this holds, as far as the calendar has looked. */
  readonly during: Span;
  /** Where the windows speak against a grant: when one next allows it; undefined where none does for a year. */
  readonly outside?: { readonly until?: number };
  /** Where a freeze speaks against a grant: when it begins, when it and those that follow it at once end, and why. */
  readonly frozen?: { readonly from: number; readonly until: number; readonly reason?: string };
  /** Whether neither speaks against a grant. */
  readonly isOpen: boolean;
  /** Where one does: when both next allow a grant; undefined where they do not within a year. */
  readonly next?: number;
}

/** A span in which slots may be granted as far as one window knows, and its cutoff. */
interface Opening extends Span {
  readonly cutoffMs: number;
}

const DAY_MS = 86_400_000;

/** How far ahead to look for an opening, in milliseconds: a year has months without a fifth Friday, and leap years. */
const HORIZON_MS = 400 * DAY_MS;

/** How far to look in the first place, in milliseconds. Most windows open within it. */
const NEAR_MS = 8 * DAY_MS;

/** See the module. */
export class Calendar {
  readonly #options: CalendarOptions;
  readonly #freezes: readonly (Span & { readonly reason?: string })[];
  #answer: CalendarAnswer | undefined;

  /** Makes one from options that have been checked. */
  constructor(options: CalendarOptions) {
    this.#options = options;
    this.#freezes = options.freeze.map((freeze) => ({
      ...spanOfFreeze(freeze, options.timeZone),
      reason: freeze.reason,
    }))
      .toSorted((one, other) => one.from - other.from);
  }

  /** Says whether slots may be granted at a moment, in milliseconds since the epoch. It remembers the last answer. */
  at(moment: number): CalendarAnswer {
    if (this.#answer === undefined || !contains(this.#answer.during, moment)) this.#answer = this.#compute(moment);
    return this.#answer;
  }

  /**
   * Lists the next spans in which slots may be granted.
   *
   * @param from Where to begin, in milliseconds since the epoch. A span that has begun before is given as a whole.
   * @param count How many to list at most. Fewer are listed where a year has no more.
   */
  openings(from: number, count: number): Span[] {
    const found: Span[] = [];
    for (let near = NEAR_MS; near <= 2 * HORIZON_MS; near *= 4) {
      const to = from + Math.min(near, HORIZON_MS);
      // A span that reaches the end of what was looked at may go on behind it.
      found.splice(0, found.length, ...this.#allowed(from, to).filter((span) => span.to > from && span.from < to));
      const isLast = near >= HORIZON_MS;
      if (found.length > count || isLast) return found.slice(0, count);
    }
    return found.slice(0, count);
  }

  #compute(moment: number): CalendarAnswer {
    const near = this.#within(moment, moment + NEAR_MS);
    const isFound = near.next !== undefined && (near.outside === undefined || near.outside.until !== undefined);
    return near.isOpen || isFound ? near : this.#within(moment, moment + HORIZON_MS);
  }

  #within(moment: number, horizon: number): CalendarAnswer {
    const grants = this.#grants(moment, horizon);
    const allowed = this.#allowed(moment, horizon);
    const isInside = grants.some((span) => contains(span, moment));
    const isAllowed = allowed.some((span) => contains(span, moment));
    const isFrozen = !isAllowed && (isInside || this.#freezes.some((freeze) => contains(freeze, moment)));
    const changes = [...grants, ...allowed, ...this.#freezes].flatMap(({ from, to }) => [from, to]);
    const next = (spans: readonly Span[]) => spans.find(({ to }) => to > moment)?.from;
    return {
      during: { from: moment, to: Math.min(horizon, ...changes.filter((change) => change > moment)) },
      ...(!isInside && { outside: { until: next(grants) } }),
      ...(isFrozen && { frozen: this.#freezeAt(moment) }),
      isOpen: isAllowed,
      ...(!isAllowed && { next: next(allowed) }),
    };
  }

  /** The freeze that speaks at a moment: the one that goes on, or the next one, which begins within the cutoff. */
  #freezeAt(moment: number): { from: number; until: number; reason?: string } | undefined {
    const run = union(this.#freezes).find(({ to }) => to > moment);
    if (run === undefined) return undefined;
    const { reason } = this.#freezes.find(({ from, to }) => to > moment && from < run.to)!;
    return { from: run.from, until: run.to, ...(reason !== undefined && { reason }) };
  }

  /** The spans in which a slot may be granted, in order, of those that end after `from` and begin before `to`. */
  #allowed(from: number, to: number): Span[] {
    const grants = this.#grants(from, to);
    return union(
      this.#windows(from, to).flatMap((window) => {
        const freezes = this.#freezes.map((freeze) => ({ from: freeze.from - window.cutoffMs, to: freeze.to }));
        return subtract(window, freezes).flatMap((span) => intersect(span, grants));
      }),
    );
  }

  /**
   * The spans in which the windows allow a grant: each window until its cutoff, and those that overlap or touch as one,
   * until the cutoff of that which ends last. So a window that follows another at once needs no cutoff between them.
   */
  #grants(from: number, to: number): Span[] {
    const single = this.#windows(from, to);
    const joined = union(single).map((run) => {
      const last = single.filter((one) => one.to === run.to).map((one) => one.cutoffMs);
      return { ...run, cutoffMs: Math.min(...last) };
    });
    return union([...single, ...joined].map(({ from, to, cutoffMs }) => ({ from, to: to - cutoffMs })));
  }

  /** The windows around a stretch of time, with the cutoff of each. */
  #windows(from: number, to: number): Opening[] {
    const { allow, timeZone, cutoffMs } = this.#options;
    if (allow.length === 0) return [{ ...ALWAYS, cutoffMs }];
    return allow.flatMap((window) =>
      spansOfWindow(window, timeZone, from, to).map((span) => ({ ...span, cutoffMs: window.cutoffMs ?? cutoffMs }))
    );
  }
}

/** The spans of a window that end after `from` and begin before `to`, in order. */
function spansOfWindow(window: AllowWindow, timeZone: string, from: number, to: number): Span[] {
  const spans: Span[] = [];
  // A day may be 25 hours long, and a whole date may be left out: two days more on either side.
  const last = dateOf(to, timeZone).add({ days: 2 });
  let day = dateOf(from - window.forMs, timeZone).subtract({ days: 2 });
  for (; Temporal.PlainDate.compare(day, last) <= 0; day = day.add({ days: 1 })) {
    if (window.days.length > 0 && !window.days.some((each) => isOn(each, day))) continue;
    const begin = momentOf(day.toPlainDateTime(Temporal.PlainTime.from(window.at)), timeZone);
    const span = { from: begin, to: begin + window.forMs };
    if (span.to > from && span.from < to) spans.push(span);
  }
  return spans;
}

/** The span of a freeze. */
function spanOfFreeze({ from, to }: Pick<Freeze, "from" | "to">, timeZone: string): Span {
  const isDate = (text: string) => !text.includes("T");
  const last = Temporal.PlainDateTime.from(to);
  return {
    from: momentOf(Temporal.PlainDateTime.from(from), timeZone),
    to: momentOf(isDate(to) ? last.add({ days: 1 }) : last, timeZone),
  };
}

function isOn(day: WindowDay, date: Temporal.PlainDate): boolean {
  if (date.dayOfWeek !== day.weekday) return false;
  switch (day.kind) {
    case "weekly":
      return true;
    case "monthly":
      return day.nth === "last" ? date.day + 7 > date.daysInMonth : Math.ceil(date.day / 7) === day.nth;
  }
}
