import fc from "fast-check";
import { deepEqual, equal, ok } from "node:assert/strict";
import { Calendar, type CalendarAnswer } from "../../src/policies/calendar.ts";
import type { AllowWindow, Freeze, WindowDay } from "../../src/policies/options.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const at = (text: string) => Temporal.Instant.from(text).epochMilliseconds;
const fri: WindowDay = { kind: "weekly", weekday: 5 };
const sat: WindowDay = { kind: "weekly", weekday: 6 };
const night: AllowWindow = { days: [fri], at: { hour: 22, minute: 0 }, forMs: 6 * HOUR, cutoffMs: 45 * MINUTE };

function calendar(allow: AllowWindow[], freeze: Freeze[] = [], timeZone = "Europe/Berlin", cutoffMs = 15 * MINUTE) {
  return new Calendar({ allow, freeze, timeZone, cutoffMs });
}

/** What an answer says, without for how long it holds. */
function said({ during: _, ...rest }: CalendarAnswer) {
  return rest;
}

Deno.test("without windows and freezes, slots are granted at any time", () => {
  const moment = at("2026-11-26T12:00Z");
  deepEqual(calendar([]).at(moment), { during: { from: moment, to: moment + 8 * 24 * HOUR }, isOpen: true });
});

Deno.test("a window that passes midnight belongs to the day on which it opens, and its cutoff ends it for new grants", () => {
  const cases: [string, boolean][] = [
    ["2026-11-27T21:59:59+01:00", false],
    ["2026-11-27T22:00+01:00", true],
    ["2026-11-28T03:14:59+01:00", true],
    ["2026-11-28T03:15+01:00", false],
    ["2026-11-28T22:00+01:00", false],
  ];
  const next = at("2026-12-04T22:00+01:00");
  for (const [text, isOpen] of cases) {
    const moment = at(text);
    const until = moment < at("2026-11-27T22:00+01:00") ? at("2026-11-27T22:00+01:00") : next;
    deepEqual(
      said(calendar([night]).at(moment)),
      isOpen ? { isOpen } : { isOpen, outside: { until }, next: until },
      text,
    );
  }
});

Deno.test("a window without a cutoff has the calendar's", () => {
  const { cutoffMs: _, ...window } = night;
  equal(calendar([window]).at(at("2026-11-28T03:44:59+01:00")).outside, undefined);
  equal(calendar([window]).at(at("2026-11-28T03:45+01:00")).outside !== undefined, true);
});

Deno.test("windows that follow each other at once need no cutoff between them", () => {
  const morning: AllowWindow = { days: [sat], at: { hour: 4, minute: 0 }, forMs: 4 * HOUR, cutoffMs: 10 * MINUTE };
  const both = calendar([night, morning]);
  deepEqual(both.openings(at("2026-11-26T00:00+01:00"), 1), [
    { from: at("2026-11-27T22:00+01:00"), to: at("2026-11-28T07:50+01:00") },
  ]);
});

Deno.test("a window inside another one keeps its own shorter cutoff", () => {
  const late: AllowWindow = { days: [sat], at: { hour: 3, minute: 0 }, forMs: 30 * MINUTE, cutoffMs: 0 };
  deepEqual(calendar([night, late]).openings(at("2026-11-26T00:00+01:00"), 1), [
    { from: at("2026-11-27T22:00+01:00"), to: at("2026-11-28T03:30+01:00") },
  ]);
});

Deno.test("a freeze ends grants before it begins, so that a drain ends in time, and is told until its end", () => {
  const freeze: Freeze[] = [{ from: "2026-12-20", to: "2027-01-06", reason: "holidays" }];
  const always = calendar([], freeze);
  const begin = at("2026-12-20T00:00+01:00");
  const end = at("2027-01-07T00:00+01:00");
  equal(always.at(begin - 15 * MINUTE - 1).frozen, undefined);
  const frozen = { from: begin, until: end, reason: "holidays" };
  deepEqual(said(always.at(begin - 15 * MINUTE)), { isOpen: false, frozen, next: end });
  deepEqual(said(always.at(end - 1)), { isOpen: false, frozen, next: end });
  deepEqual(said(always.at(end)), { isOpen: true });
});

Deno.test("a freeze beats a window, and the next opening is that of both", () => {
  const both = calendar([night], [{ from: "2026-11-27T23:00", to: "2026-12-04T23:00" }]);
  const end = at("2026-12-04T23:00+01:00");
  // The cutoff of the window applies before the freeze too.
  deepEqual(said(both.at(at("2026-11-27T22:14+01:00"))), { isOpen: true });
  const frozen = { from: at("2026-11-27T23:00+01:00"), until: end };
  deepEqual(said(both.at(at("2026-11-27T22:15+01:00"))), { isOpen: false, frozen, next: end });
  const outside = { until: at("2026-12-04T22:00+01:00") };
  deepEqual(said(both.at(at("2026-12-01T12:00+01:00"))), { isOpen: false, outside, frozen, next: end });
});

Deno.test("before a freeze, each window has its own cutoff, also where another window follows it", () => {
  const first: AllowWindow = { days: [fri], at: { hour: 22, minute: 0 }, forMs: 2 * HOUR, cutoffMs: 30 * MINUTE };
  const second: AllowWindow = { days: [sat], at: { hour: 0, minute: 0 }, forMs: 2 * HOUR, cutoffMs: 0 };
  const both = calendar([first, second], [{ from: "2026-11-27T23:00", to: "2026-11-28T00:30" }]);
  deepEqual(both.openings(at("2026-11-26T00:00+01:00"), 2), [
    { from: at("2026-11-27T22:00+01:00"), to: at("2026-11-27T22:30+01:00") },
    { from: at("2026-11-28T00:30+01:00"), to: at("2026-11-28T02:00+01:00") },
  ]);
});

Deno.test("freezes that follow each other at once are told as one", () => {
  const two = calendar([], [{ from: "2027-01-01", to: "2027-01-05", reason: "b" }, {
    from: "2026-12-20",
    to: "2026-12-31",
  }]);
  const { frozen } = two.at(at("2026-12-24T12:00+01:00"));
  deepEqual(frozen, { from: at("2026-12-20T00:00+01:00"), until: at("2027-01-06T00:00+01:00") });
});

Deno.test("a window that never opens within a year has no next opening", () => {
  const moment = at("2026-11-26T12:00Z");
  const never = calendar([night], [{ from: "2026-01-01", to: "2030-01-01" }]);
  equal(never.at(moment).next, undefined);
  deepEqual(never.openings(moment, 5), []);
});

Deno.test("the days of a month are counted from either end", () => {
  const noon = (nth: 1 | 2 | 3 | 4 | 5 | "last"): AllowWindow => {
    return { days: [{ kind: "monthly", weekday: 2, nth }], at: { hour: 12, minute: 0 }, forMs: HOUR, cutoffMs: 0 };
  };
  const first = (nth: 1 | 2 | 3 | 4 | 5 | "last") => {
    const [opening] = calendar([noon(nth)], [], "UTC").openings(at("2026-09-01T00:00Z"), 1);
    return new Date(opening!.from).toISOString().slice(0, 10);
  };
  deepEqual([1, 2, 3, 4, 5, "last"].map((nth) => first(nth as 1)), [
    "2026-09-01",
    "2026-09-08",
    "2026-09-15",
    "2026-09-22",
    "2026-09-29",
    "2026-09-29",
  ]);
  const february = calendar([noon("last")], [], "UTC").openings(at("2027-02-01T00:00Z"), 1);
  equal(february[0]!.from, at("2027-02-23T12:00Z"));
});

const zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"];

/** Every change of a zone's clocks in some years. */
function transitions(timeZone: string): number[] {
  const found: number[] = [];
  let zoned: Temporal.ZonedDateTime | null = Temporal.Instant.from("2024-01-01T00:00Z").toZonedDateTimeISO(timeZone);
  while ((zoned = zoned!.getTimeZoneTransition("next")) !== null && zoned.year < 2029) {
    found.push(zoned.epochMilliseconds);
  }
  return found;
}

const DAY = 24 * HOUR;

/**
 * A second reading of what a window is: walks through the minutes of a clock on the wall, and opens the window where
 * the clock shows its time for the first time on a matching date, or jumps over it.
 *
 * @param walls The local time of each minute, in milliseconds as if it were UTC.
 * @returns For each minute, whether a slot may be granted in it.
 */
function openMinutes(window: AllowWindow, walls: readonly number[]): boolean[] {
  const opened = new Set<number>();
  let openUntil = -1;
  return walls.map((wall, minute) => {
    const before = minute === 0 ? wall : walls[minute - 1]!;
    for (let day = Math.floor(before / DAY) * DAY; day <= wall; day += DAY) {
      const start = day + window.at.hour * HOUR + window.at.minute * MINUTE;
      if (start > wall || start <= before || opened.has(day) || !isOn(window, day)) continue;
      opened.add(day);
      openUntil = minute + (window.forMs - window.cutoffMs!) / MINUTE;
    }
    return minute < openUntil;
  });
}

/** Whether a window opens on a local date, by the rule that the first of January 1970 was a Thursday. */
function isOn({ days }: AllowWindow, day: number): boolean {
  return days.length === 0 || days.some(({ weekday }) => (day / DAY + 3) % 7 + 1 === weekday);
}

for (const timeZone of zones) {
  Deno.test(`windows open as a clock on the wall in ${timeZone} shows, in every minute around each change`, () => {
    let open = 0;
    for (const [nth, change] of transitions(timeZone).entries()) {
      const first = Math.floor(change / MINUTE) * MINUTE - 36 * HOUR;
      const moments = Array.from({ length: 3 * 24 * 60 }, (_, minute) => first + minute * MINUTE);
      const walls = moments.map((moment) => {
        const zoned = Temporal.Instant.fromEpochMilliseconds(moment).toZonedDateTimeISO(timeZone);
        return moment + zoned.offsetNanoseconds / 1e6;
      });
      for (const minute of [0, 15, 30]) {
        const window: AllowWindow = {
          days: nth % 2 === 0 ? [] : [{ kind: "weekly", weekday: 7 }, { kind: "weekly", weekday: 1 }],
          at: { hour: [0, 1, 2, 3, 23][(nth + minute) % 5]!, minute },
          forMs: (10 + minute * 3) * MINUTE,
          cutoffMs: 5 * MINUTE,
        };
        const tried = calendar([window], [], timeZone);
        const expected = openMinutes(window, walls);
        // A window may have opened before the first minutes, where the reference has not looked.
        for (let at = 120; at < moments.length; at++) {
          if (expected[at]) open++;
          if (tried.at(moments[at]!).isOpen === expected[at]) continue;
          equal(!expected[at], expected[at], `${new Date(moments[at]!).toISOString()} ${JSON.stringify(window)}`);
        }
      }
    }
    ok(open > 1_000, `only ${open} minutes were open`);
  });
}

const days = fc.oneof(
  fc.record({ kind: fc.constant("weekly" as const), weekday: fc.integer({ min: 1, max: 7 }) }),
  fc.record({
    kind: fc.constant("monthly" as const),
    weekday: fc.integer({ min: 1, max: 7 }),
    nth: fc.constantFrom(1, 2, 3, 4, 5, "last"),
  }),
) as fc.Arbitrary<WindowDay>;

const windows: fc.Arbitrary<AllowWindow> = fc.record({
  days: fc.array(days, { maxLength: 3 }),
  at: fc.record({ hour: fc.integer({ min: 0, max: 23 }), minute: fc.integer({ min: 0, max: 59 }) }),
  forMs: fc.integer({ min: 30, max: 3_000 }).map((minutes) => minutes * MINUTE),
  cutoffMs: fc.integer({ min: 0, max: 20 }).map((minutes) => minutes * MINUTE),
}, { noNullPrototype: true });

const freezes: fc.Arbitrary<Freeze> = fc.record({
  from: fc.integer({ min: 1, max: 28 }),
  length: fc.integer({ min: 0, max: 9 }),
}).map(({ from, length }) => {
  const begin = Temporal.PlainDate.from({ year: 2026, month: 10, day: from });
  return { from: String(begin), to: String(begin.add({ days: length })) };
});

Deno.test("what the calendar says of a moment agrees with its openings, and holds as long as it says", () => {
  fc.assert(
    fc.property(
      fc.array(windows, { maxLength: 3 }),
      fc.array(freezes, { maxLength: 2 }),
      fc.constantFrom(...zones),
      fc.integer({ min: at("2026-09-20T00:00Z"), max: at("2026-11-10T00:00Z") }),
      fc.integer({ min: 0, max: 1_000 }),
      (allow, freeze, timeZone, moment, share) => {
        const answer = calendar(allow, freeze, timeZone).at(moment);
        const [next] = calendar(allow, freeze, timeZone).openings(moment, 1);
        equal(answer.isOpen, next !== undefined && next.from <= moment);
        if (!answer.isOpen) equal(answer.next, next?.from);
        equal(answer.isOpen, answer.outside === undefined && answer.frozen === undefined);
        const last = Math.min(answer.during.to, moment + 20 * 24 * HOUR) - 1;
        const later = moment + Math.floor((last - moment) * share / 1_000);
        deepEqual(said(calendar(allow, freeze, timeZone).at(later)), said(answer));
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("a window is looked for 400 days ahead, and no further", () => {
  const moment = at("2026-11-26T12:00Z");
  const next = (to: string) => calendar([night], [{ from: "2026-11-01", to }]).at(moment).next;
  equal(next("2027-12-20"), at("2027-12-24T22:00+01:00"));
  equal(next("2028-01-15"), undefined);
});
