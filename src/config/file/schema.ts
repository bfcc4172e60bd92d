/**
 * The keys of the configuration file: what each may hold, what it means for
 * editors, and what becomes of it. The JSON Schema is made from the same table.
 * What a rule does with a value is in src/policies.
 *
 * @module
 */

import type { GenericSchema, ObjectEntries } from "valibot";
import * as v from "valibot";
import { MAX_GROUP_LENGTH } from "../../lock/identity.ts";
import {
  type AllowWindow,
  type Freeze,
  type GroupOptions,
  type HealthOptions,
  LEAST_GONE_MS,
  type StuckOptions,
} from "../../policies/options.ts";
import { amount, labelSelector, list, text, word } from "./schema_parts.ts";
import { MAPPING } from "./shape.ts";
import {
  durationOrZero,
  endsAfter,
  formatDuration,
  httpUrl,
  localMoment,
  positiveDuration,
  regularExpression,
  someText,
  timeOfDay,
  timeZone,
  windowDay,
} from "./texts.ts";

const allowWindow = v.pipe(
  v.object({
    days: v.optional(
      v.pipe(
        v.array(text(windowDay, "A weekday: fri, 2nd tue, last sun"), list("weekdays")),
        v.minLength(1, `${list("weekdays")} that is not empty, or left out for every day`),
        v.description("The days on which the window opens; every day where nothing is said"),
      ),
    ),
    at: text(timeOfDay, "The local time at which the window opens"),
    for: text(positiveDuration, "How long the window stays open, in elapsed time"),
    cutoff: v.optional(
      text(
        durationOrZero,
        "How long before the window's end, and before a freeze, the last slot is granted; the drain's time limit where nothing is said",
      ),
    ),
  }, MAPPING),
  v.transform(({ days = [], at, for: forMs, cutoff }): AllowWindow => ({
    days,
    at,
    forMs,
    ...(cutoff !== undefined && { cutoffMs: cutoff }),
  })),
);

const freeze = v.pipe(
  v.object({
    from: text(localMoment, "When the freeze begins: a local date, from its first moment, or a date and time"),
    to: text(localMoment, "When the freeze ends: a local date, to its last moment, or a date and time"),
    reason: v.optional(text(someText("a text that is not empty"), "Why, for the replies")),
  }, MAPPING),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed || endsAfter(dataset.value.from, dataset.value.to)) return;
    const { value: input } = dataset;
    addIssue({
      message: `must be after the beginning, ${input.from}`,
      path: [{ type: "object", origin: "value", input, key: "to", value: input.to }],
    });
  }),
  v.transform((said): Freeze => said),
);

/** What Prometheus and Alertmanager have in common. */
const endpoint = {
  url: text(httpUrl, "The base URL"),
  onError: v.optional(word(["refuse", "allow"], "What to do where it does not answer"), "refuse"),
  tokenFile: v.optional(text(someText("the path of a file"), "A file with a bearer token")),
  caFile: v.optional(text(someText("the path of a file"), "A file with the CAs of its certificate, in PEM")),
};

const prometheus = v.pipe(
  v.object({
    ...endpoint,
    queries: v.pipe(
      v.array(
        v.object({
          name: text(someText("a name"), "What the replies call the query"),
          expr: text(someText("a PromQL expression"), "The query"),
        }, MAPPING),
        list("queries"),
      ),
      v.minLength(1, `${list("queries")} that is not empty`),
      v.rawCheck(({ dataset, addIssue }) => {
        if (!dataset.typed) return;
        const { value: input } = dataset;
        const names = input.map(({ name }) => name);
        for (const [key, value] of input.entries()) {
          if (names.indexOf(value.name) === key) continue;
          addIssue({
            message: "must have a name that no other query has",
            path: [
              { type: "array", origin: "value", input, key, value },
              { type: "object", origin: "value", input: value, key: "name", value: value.name },
            ],
          });
        }
      }),
      v.description("Queries whose result is not empty block"),
    ),
  }, MAPPING),
  v.description("Queries of a Prometheus"),
);

const alertmanager = v.pipe(
  v.object({
    ...endpoint,
    alerts: text(regularExpression, "A regular expression: alerts of such a name that are active block"),
  }, MAPPING),
  v.description("Alerts of an Alertmanager"),
);

const health = v.pipe(
  v.object({
    notReady: v.optional(
      amount(
        0,
        "a whole number or a percentage, as in 1 or 5%",
        "How many of the group's Nodes may be NotReady, as a number or a percentage",
      ),
    ),
    blockingPods: v.optional(
      text(labelSelector, "A label selector: a running pod on the asking Node that it selects blocks"),
    ),
    budgets: v.optional(
      word(["refuse", "ignore"], "Whether a PodDisruptionBudget that allows no eviction blocks before the grant"),
    ),
    prometheus: v.optional(prometheus),
    alertmanager: v.optional(alertmanager),
  }, MAPPING),
  v.description("What must be healthy before a slot is granted"),
);

const drain = v.pipe(
  v.object({
    timeout: v.optional(text(positiveDuration, "The time limit of a drain, instead of that of -drain-timeout")),
    onTimeout: v.optional(
      word(
        ["refuse", "proceed", "delete", "yield"],
        "What to do when a drain times out, instead of what -drain-on-timeout says",
      ),
    ),
  }, MAPPING),
  v.description("How a drain of the group's Nodes differs from what the flags say"),
  v.transform(({ timeout, onTimeout }) => ({
    ...(timeout !== undefined && { timeoutMs: timeout }),
    ...(onTimeout !== undefined && { onTimeout }),
  })),
);

const onNodeGone = v.pipe(
  v.object({
    action: v.optional(
      word(["keep", "release"], "Whether the hold stays until somebody frees it, or is freed after a while"),
    ),
    after: v.optional(
      text({
        ...positiveDuration,
        expected: `a duration from ${formatDuration(LEAST_GONE_MS)} to 596h, as in 30m or 2h`,
        parse(raw) {
          const ms = positiveDuration.parse(raw);
          return ms === undefined || ms < LEAST_GONE_MS ? undefined : ms;
        },
      }, "How long the Node must be gone before the hold is freed"),
    ),
  }, MAPPING),
  v.description("What becomes of a hold whose Node is gone"),
  v.transform(({ action, after }) => ({
    ...(action !== undefined && { action }),
    ...(after !== undefined && { afterMs: after }),
  })),
);

/** The time after which a hold is stuck in a stage. */
function stuckAfter(stage: string) {
  return v.optional(text(positiveDuration, `${stage}; the default is in docs/policies.md`));
}

const stuck = v.pipe(
  v.object({
    "draining": stuckAfter("Pods are evicted"),
    "blocked": stuckAfter("The drain has failed, or budgets hold back every pod that is left"),
    "granted-not-rebooting": stuckAfter("The host may reboot and has not"),
    "rebooting": stuckAfter("The Node is not ready after the yes"),
    "back-not-reporting": stuckAfter("The Node is back, and its host has not reported"),
    "node-gone": stuckAfter("The Node does not exist"),
  }, MAPPING),
  v.description("How long a hold may stay in each stage before it counts as stuck"),
);

/** What a file says about a group, parsed. What it does not say is missing. */
export interface SaidGroup extends Partial<Omit<GroupOptions, "settleMs" | "health" | "onNodeGone">> {
  /** See {@link GroupOptions.settleMs}. */
  readonly settle?: number;
  /** See {@link GroupOptions.onNodeGone}. */
  readonly onNodeGone?: Partial<GroupOptions["onNodeGone"]>;
  /** See {@link GroupOptions.health}. */
  readonly health?: Omit<HealthOptions, "budgets"> & { readonly budgets?: "refuse" | "ignore" };
}

/** What a file says at its top, parsed, without its groups. What it does not say is missing. */
export interface SaidFile {
  /** See {@link PolicyOptions.timeZone}. */
  readonly timeZone?: string;
  /** See {@link PolicyOptions.allowUnknownGroups}. */
  readonly allowUnknownGroups?: boolean;
  /** See {@link PolicyOptions.stuck}. */
  readonly stuck?: Partial<StuckOptions>;
  /** What applies to groups that do not say otherwise. */
  readonly defaults?: SaidGroup;
}

/** Checks a mapping and parses its values. */
export type MappingSchema<T> = GenericSchema<unknown, T> & {
  /** The schemas of its values, by key. */
  readonly entries: ObjectEntries;
};

/** What a file can say about a group. */
export const GROUP_SCHEMA: MappingSchema<SaidGroup> = v.object({
  nodes: v.optional(text(labelSelector, "A label selector of the group's Nodes, which percentages count")),
  slots: v.optional(
    amount(
      1,
      "an integer from 1 to 999999999 or a percentage above 0%, as in 2 or 10%",
      "How many hosts may hold a slot at the same time: a number or a percentage, rounded down and at least 1",
    ),
  ),
  unavailable: v.optional(
    word(["ignore", "count"], "Whether Nodes that are NotReady, or cordoned by others, take a slot"),
  ),
  allow: v.optional(
    v.pipe(
      v.array(allowWindow, list("windows")),
      v.description("Windows in which slots are granted; always where there are none"),
    ),
  ),
  freeze: v.optional(
    v.pipe(
      v.array(freeze, list("freezes")),
      v.description("Times in which no slots are granted, whatever a window says"),
    ),
  ),
  settle: v.optional(text(durationOrZero, "How long to wait after a holder came back from a reboot")),
  mode: v.optional(
    word(["enforce", "warn"], "Whether the group's rules refuse, or only log and count what they would refuse"),
  ),
  drain: v.optional(drain),
  onNodeGone: v.optional(onNodeGone),
  health: v.optional(health),
}, MAPPING);

/** The file without its groups, which are checked one by one. */
export const FILE_SCHEMA: MappingSchema<SaidFile> = v.object({
  $schema: v.optional(text(someText("the address of a JSON Schema"), "Where editors find this schema")),
  timeZone: v.optional(text(timeZone, "The time zone of all windows and freezes; UTC where nothing is said")),
  allowUnknownGroups: v.optional(
    v.pipe(
      v.boolean("must be true or false"),
      v.description("Whether hosts of groups that are not named here get slots; they do where nothing is said"),
    ),
  ),
  stuck: v.optional(stuck),
  defaults: v.optional(v.pipe(GROUP_SCHEMA, v.description("What applies to every group that does not say otherwise"))),
}, MAPPING);

/** The whole file, for editors. */
export const WHOLE_SCHEMA: MappingSchema<unknown> = v.object({
  ...FILE_SCHEMA.entries,
  groups: v.optional(
    v.pipe(
      v.record(v.pipe(v.string(), v.regex(new RegExp(`^[a-zA-Z0-9.-]{1,${MAX_GROUP_LENGTH}}$`))), GROUP_SCHEMA),
      v.description("The groups by name"),
    ),
  ),
});
