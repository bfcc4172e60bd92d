/**
 * Random configuration files, as the values that they hold.
 *
 * @module
 */

import fc from "fast-check";
import type { FileValue } from "../../src/config/file/file_value.ts";
import { formatDuration } from "../../src/config/file/texts.ts";

type Mapping = { readonly [key: string]: FileValue };

const name = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9.-]{0,20}$/);
/** Texts that YAML would take for something else without quotes are among them. */
const sentence = fc.oneof(
  fc.constantFrom(
    "null",
    "true",
    "12",
    "1e3",
    "- a",
    "a: b",
    "#",
    "x #y",
    "~",
    "'",
    '"',
    "é\u{1f600}",
    "a\nb",
    "2026-12-20",
    "*a",
    "!b",
    "%",
  ),
  fc.string({ minLength: 1, unit: "grapheme" }).filter((text) => text.trim() !== ""),
);
/** The longest duration that a file may hold, 596 hours. */
const LONGEST_MS = 596 * 3_600_000;
const duration = (min: number, max: number) => fc.integer({ min, max }).map(formatDuration);
const amount = (min: number) =>
  fc.oneof(fc.integer({ min, max: 128 }), fc.integer({ min, max: 100 }).map((n) => `${n}%`));
const selector = fc.constantFrom("app=web", "a in (b, c),!d", "node-role.kubernetes.io/worker", "x!=y");
const path = fc.constantFrom("/var/run/token", "ca.pem", "a b");
const part = <T>(values: { readonly [K in keyof T]: fc.Arbitrary<T[K]> }, required: (keyof T & string)[] = []) =>
  fc.record(values, { requiredKeys: required }) as unknown as fc.Arbitrary<Mapping>;

const day = fc.tuple(
  fc.constantFrom("", "1st ", "2nd ", "3rd ", "4th ", "5th ", "last "),
  fc.constantFrom("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
).map(([nth, weekday]) => nth + weekday);
const two = (max: number) => fc.integer({ min: 0, max }).map((n) => `${n}`.padStart(2, "0"));
const time = fc.tuple(two(23), two(59)).map((parts) => parts.join(":"));
const window = part({
  days: fc.array(day, { minLength: 1, maxLength: 3 }),
  at: time,
  // Longer than any cutoff, and than any time limit of a drain.
  for: duration(10_000_000, LONGEST_MS),
  cutoff: duration(0, 9_999_999),
}, ["at", "for"]);
const date = fc.date({ min: new Date("2020-01-01"), max: new Date("2040-01-01"), noInvalidDate: true });
const freeze = fc.tuple(date, fc.integer({ min: 1, max: 1_000_000_000 }), fc.boolean(), fc.option(sentence)).map(
  ([from, ms, withTime, reason]): Mapping => {
    const write = (moment: Date) => moment.toISOString().slice(0, withTime ? 16 : 10);
    const to = new Date(from.getTime() + ms + 60_000);
    return { from: write(from), to: write(to), ...(reason !== null && { reason }) };
  },
);
const endpoint = { url: fc.constantFrom("http://p:9090", "https://a/b/c"), tokenFile: path, caFile: path };
const onError = fc.constantFrom("refuse", "allow");
const query = part({ name, expr: sentence }, ["name", "expr"]);

const group = (inCluster: boolean): fc.Arbitrary<Mapping> =>
  part({
    ...(inCluster && {
      nodes: selector,
      unavailable: fc.constantFrom("ignore", "count"),
      onNodeGone: part({ action: fc.constantFrom("keep", "release"), after: duration(600_000, LONGEST_MS) }),
      drain: part({
        timeout: duration(1, 9_999_999),
        onTimeout: fc.constantFrom("refuse", "proceed", "delete", "yield"),
      }),
    }),
    slots: inCluster ? amount(1) : fc.integer({ min: 1, max: 1_000 }),
    allow: fc.array(window, { maxLength: 3 }),
    freeze: fc.array(freeze, { maxLength: 2 }),
    settle: duration(0, 100_000_000),
    mode: fc.constantFrom("enforce", "warn"),
    health: part({
      ...(inCluster && { notReady: amount(0), blockingPods: selector, budgets: fc.constant("refuse") }),
      prometheus: part({
        ...endpoint,
        onError,
        queries: fc.uniqueArray(query, { minLength: 1, maxLength: 3, selector: (each) => each.name }),
      }, ["url", "onError", "queries"]),
      alertmanager: part({ ...endpoint, onError, alerts: fc.constantFrom("^Ceph.*", "a|b") }, [
        "url",
        "onError",
        "alerts",
      ]),
    }),
  });

/** Valid files, for a server with a cluster or without one. */
export function policyFiles(inCluster: boolean): fc.Arbitrary<Mapping> {
  return part({
    timeZone: fc.constantFrom("UTC", "Europe/Berlin", "Australia/Lord_Howe"),
    allowUnknownGroups: fc.boolean(),
    ...(inCluster && {
      stuck: part({
        "draining": duration(1, LONGEST_MS),
        "rebooting": duration(1, LONGEST_MS),
        "node-gone": duration(1, LONGEST_MS),
      }),
    }),
    defaults: group(inCluster),
    groups: fc.dictionary(name, group(inCluster), { maxKeys: 4 }),
  });
}
