/**
 * Describes a configuration file to a person: every value that is in force, and
 * where it comes from. Its lines are a valid configuration file themselves.
 *
 * @module
 */

import { DRAIN_GRACE_MS, type GroupOptions, type PolicyOptions, type StuckOptions } from "../../policies/options.ts";
import { type FileValue, groupValueOf, stuckValueOf } from "./file_value.ts";
import type { FileContext, Said } from "./policy_file.ts";
import { formatDuration } from "./texts.ts";

/** What the flags say about drains. */
export interface DrainFlags extends FileContext {
  /** What happens when a drain times out; undefined where nothing is drained. */
  readonly drainOnTimeout?: string;
}

/**
 * Writes every value in force, each on a line of its own. A comment tells which of them the file does not say itself:
 * `default`, or `defaults` for those of its key `defaults`.
 */
export function describePolicies(
  { options, said }: { options: PolicyOptions; said: Said },
  flags: DrainFlags,
): string[] {
  const top = (key: string, value: FileValue) => line("", key, value, said.top.has(key) ? "" : "default");
  return [
    top("timeZone", options.timeZone),
    top("allowUnknownGroups", options.allowUnknownGroups),
    ...describeStuck(options.stuck, said.top, flags),
    "defaults:",
    ...describeGroup(options.defaults, "  ", (key) => said.defaults.has(key) ? "" : "default", flags),
    ...(options.groups.size > 0 ? ["groups:"] : []),
    ...[...options.groups].flatMap(([name, group]) => [
      `  ${writeFlow(name)}:`,
      ...describeGroup(group, "    ", (key) => {
        if (said.groups.get(name)?.has(key)) return "";
        return said.defaults.has(key) ? "defaults" : "default";
      }, flags),
    ]),
  ];
}

function describeStuck(
  stuck: StuckOptions,
  said: ReadonlySet<string>,
  { store, drainTimeoutMs }: DrainFlags,
): string[] {
  // Without a cluster, a file must not have this key.
  if (store !== "kubernetes") return [];
  const origin = (stage: string) => said.has(`stuck.${stage}`) ? "" : "default";
  const isFromFlags = stuck.draining === undefined && drainTimeoutMs !== undefined;
  return [
    "stuck:",
    ...(isFromFlags
      ? [line("  ", "draining", formatDuration(drainTimeoutMs + DRAIN_GRACE_MS), "default, from the flags")]
      : []),
    ...Object.entries(stuckValueOf(stuck)).map(([stage, value]) => line("  ", stage, value, origin(stage))),
  ];
}

function describeGroup(
  group: GroupOptions,
  indent: string,
  origin: (key: string) => string,
  { drainTimeoutMs, drainOnTimeout, store }: DrainFlags,
): string[] {
  const { drain: saidDrain = {}, onNodeGone, health = {}, unavailable, ...values } = groupValueOf(group);
  // Without a cluster, a file must not have these keys.
  const inCluster = store === "kubernetes" ? { unavailable: unavailable! } : {};
  const flags = drainTimeoutMs === undefined || drainOnTimeout === undefined
    ? {}
    : { timeout: formatDuration(drainTimeoutMs), onTimeout: drainOnTimeout };
  const parts = {
    drain: { ...flags, ...saidDrain as object },
    ...(store === "kubernetes" && { onNodeGone }),
    health,
  } as Record<string, Record<string, FileValue>>;
  return [
    ...Object.entries({ ...values, ...inCluster }).map(([key, value]) => line(indent, key, value, origin(key))),
    ...Object.entries(parts).filter(([, part]) => Object.keys(part).length > 0).flatMap(([name, part]) => [
      `${indent}${name}:`,
      ...Object.entries(part).map(([key, value]) => {
        const from = origin(`${name}.${key}`);
        return line(
          `${indent}  `,
          key,
          value,
          name === "drain" && from === "default" ? "default, from the flags" : from,
        );
      }),
    ]),
  ];
}

function line(indent: string, key: string, value: FileValue, origin: string): string {
  return `${indent}${key}: ${writeFlow(value)}${origin === "" ? "" : `  # ${origin}`}`;
}

/** Writes a value on one line of YAML, with quotes where it needs them. */
function writeFlow(value: FileValue): string {
  if (Array.isArray(value)) return `[${value.map(writeFlow).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, each]) => `${key}: ${writeFlow(each)}`).join(", ")}}`;
  }
  if (typeof value !== "string") return `${value}`;
  const isPlain = /^[A-Za-z0-9][\w./%-]*( [\w./%-]+)*$/.test(value) &&
    !/^([\d.]+(e\d+)?|true|false|null)$/i.test(value);
  // JSON's escapes are YAML's too.
  return isPlain ? value : JSON.stringify(value);
}
