/** Moments as text, and local times as moments. @module */

import { deepEqual, equal } from "node:assert/strict";
import { dateOf, describeMoment, momentOf } from "../../src/policies/local_time.ts";

const at = (text: string) => Temporal.Instant.from(text).epochMilliseconds;
const BERLIN = "Europe/Berlin";

Deno.test("a moment is written with its weekday, date, time to the minute and offset", () => {
  const days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
  days.forEach((day, i) => {
    const date = `2026-11-${23 + i}`;
    equal(describeMoment(at(`${date}T21:59:59.999Z`), BERLIN), `${day} ${date} 22:59 +01:00`);
  });
  equal(describeMoment(at("2026-07-01T00:00Z") + 0.5, BERLIN), "Wed 2026-07-01 02:00 +02:00");
  equal(describeMoment(at("2026-07-01T00:00Z"), "UTC"), "Wed 2026-07-01 00:00 +00:00");
  equal(describeMoment(at("2026-07-01T00:00Z"), "UTC", "second"), "Wed 2026-07-01 00:00:00 +00:00");
  equal(describeMoment(at("2026-07-01T00:00:59.999Z"), "UTC", "second"), "Wed 2026-07-01 00:00:59 +00:00");
});

Deno.test("however many moments are written, each is written as itself, and what is written often is made once", () => {
  const conversions = countConversions();
  try {
    const first = at("2026-11-23T00:00Z");
    const text = (i: number) =>
      `Mon 2026-11-23 ${`${Math.floor(i / 60)}`.padStart(2, "0")}:${`${i % 60}`.padStart(2, "0")} +00:00`;
    for (let i = 0; i < 1_000; i++) {
      for (let times = 0; times < 3; times++) equal(describeMoment(first + i * 60_000, "UTC"), text(i));
    }
    equal(conversions.count(), 1_000);
    // The last 200 at least are remembered, and the first ones, of thousands, are not.
    for (let i = 999; i >= 1_000 - 200; i--) equal(describeMoment(first + i * 60_000, "UTC"), text(i));
    equal(conversions.count(), 1_000);
    equal(describeMoment(first, "UTC"), text(0));
    equal(conversions.count(), 1_001);
  } finally {
    conversions[Symbol.dispose]();
  }
});

Deno.test("a local time that comes twice is the first of both, and one that is left out is the change of the clocks", () => {
  const moments = [
    ["2026-10-25T02:30", "2026-10-25T00:30Z"],
    ["2026-10-25T03:00", "2026-10-25T02:00Z"],
    ["2026-03-29T02:00", "2026-03-29T01:00Z"],
    ["2026-03-29T02:30", "2026-03-29T01:00Z"],
    ["2026-03-29T03:00", "2026-03-29T01:00Z"],
    ["2026-11-27T22:00", "2026-11-27T21:00Z"],
  ] as const;
  deepEqual(
    moments.map(([local]) => momentOf(Temporal.PlainDateTime.from(local), BERLIN)),
    moments.map(([, moment]) => at(moment)),
  );
  // Half an hour is left out, not a whole one.
  equal(momentOf(Temporal.PlainDateTime.from("2026-10-04T02:15"), "Australia/Lord_Howe"), at("2026-10-03T15:30Z"));
});

Deno.test("a moment has the date of its time zone", () => {
  equal(dateOf(at("2026-11-26T23:30Z") + 0.9, BERLIN).toString(), "2026-11-27");
  equal(dateOf(at("2026-11-26T23:30Z"), "UTC").toString(), "2026-11-26");
});

/** Counts how many moments are taken into a time zone. */
function countConversions(): Disposable & { count(): number } {
  const { toZonedDateTimeISO } = Temporal.Instant.prototype;
  let count = 0;
  Temporal.Instant.prototype.toZonedDateTimeISO = function (...args) {
    count++;
    return toZonedDateTimeISO.apply(this, args);
  };
  return {
    count: () => count,
    [Symbol.dispose]() {
      Temporal.Instant.prototype.toZonedDateTimeISO = toZonedDateTimeISO;
    },
  };
}
