/**
 * From the text of a configuration file to the policies that it describes, or to
 * everything that is wrong with it. Reads no files. Import it dynamically: it
 * loads the parser and the schema library, which a server without a file does not
 * need.
 *
 * @module
 */

import * as v from "valibot";
import { parseGroup } from "../../lock/identity.ts";
import {
  DEFAULT_GROUP,
  DEFAULT_STUCK,
  type GroupOptions,
  MAX_LEASE_SLOTS,
  type PolicyOptions,
} from "../../policies/options.ts";
import { FILE_SCHEMA, GROUP_SCHEMA, type SaidGroup } from "./schema.ts";
import { type KeyPath, nodeAt, offsetAt, parseSource, type Problem, type SourceNode, valueOf } from "./source.ts";
import { formatDuration } from "./texts.ts";
import { checkShape } from "./shape.ts";

/** What the flags say and a file depends on. */
export interface FileContext {
  /** Where the locks are stored. Without a cluster, rules about Nodes and pods are refused. */
  readonly store: "kubernetes" | "sqlite" | "memory";
  /** The time limit of a drain, in milliseconds; undefined where nothing is drained. */
  readonly drainTimeoutMs?: number;
}

/** What a file says, as opposed to what it leaves to defaults. */
export interface Said {
  /** The keys at the top of the file, such as `timeZone` and `stuck.draining`. */
  readonly top: ReadonlySet<string>;
  /** The keys in `defaults`, such as `slots` and `drain.timeout`. */
  readonly defaults: ReadonlySet<string>;
  /** The keys of each named group, in the same form. */
  readonly groups: ReadonlyMap<string, ReadonlySet<string>>;
}

/** The result of {@link parsePolicyFile}. */
export type ParsedPolicyFile =
  | { readonly kind: "valid"; readonly options: PolicyOptions; readonly said: Said }
  /** Every problem, in the order of the file: `FILE:LINE:COLUMN: KEY: what was expected: what it is`. */
  | { readonly kind: "invalid"; readonly errors: readonly string[] };

/** Keys of a group that are about Nodes and pods. */
const CLUSTER_KEYS: readonly KeyPath[] = [
  ["nodes"],
  ["unavailable"],
  ["drain"],
  ["onNodeGone"],
  ["health", "notReady"],
  ["health", "blockingPods"],
  ["health", "budgets"],
];

/**
 * Parses and checks the text of a configuration file.
 *
 * @param name The file's name, for the errors.
 */
export function parsePolicyFile(text: string, name: string, context: FileContext): ParsedPolicyFile {
  text = text.replace(/^\ufeff/, "");
  const { root, problems } = parseSource(text);
  const found = [...problems];
  const checked = root && checkFile(root, context, found);
  if (checked !== undefined && found.length === 0) return { kind: "valid", ...checked };
  const errors = [...found].sort((a, b) => a.offset - b.offset).map((problem) => describe(problem, text, name));
  return { kind: "invalid", errors: [...new Set(errors)] };
}

/** Checks a tree, adds what is wrong with it to `problems`, and makes options of the rest. */
function checkFile(
  root: SourceNode,
  context: FileContext,
  problems: Problem[],
): { options: PolicyOptions; said: Said } | undefined {
  const topSchema = { ...FILE_SCHEMA, entries: { ...FILE_SCHEMA.entries, groups: {} } };
  problems.push(...checkShape(topSchema, root));
  const file = validate(FILE_SCHEMA, root, [], root, problems);
  const groupsNode = nodeAt(root, ["groups"]);
  if (groupsNode !== undefined && groupsNode.kind !== "mapping") {
    problems.push(wrong("must be a mapping of groups", groupsNode, ["groups"]));
  }
  const places = [
    { path: ["defaults"], node: nodeAt(root, ["defaults"]) },
    ...(groupsNode?.kind === "mapping" ? groupsNode.pairs : []).map(({ key, value }) => ({
      path: ["groups", key],
      node: value,
    })),
  ];
  if (context.store !== "kubernetes") {
    for (const { path, node } of places) problems.push(...needsCluster(node, path, context.store));
    problems.push(...needsCluster(root, [], context.store, [["stuck"]]));
  } else if (context.drainTimeoutMs === undefined) {
    for (const { path, node } of places) problems.push(...needsDrains(node, path));
  }
  if (context.store === "kubernetes") {
    for (const { path, node } of places) problems.push(...tooManySlots(node, path));
  }
  const defaults = merge(DEFAULT_GROUP, file?.defaults ?? {});
  const groups = new Map<string, GroupOptions>();
  const saidGroups = new Map<string, ReadonlySet<string>>();
  for (const { key, keyOffset, value } of groupsNode?.kind === "mapping" ? groupsNode.pairs : []) {
    const path = ["groups", key];
    if (parseGroup(key) === undefined) {
      const message = 'must be the name of a group: 1 to 63 letters, digits, "." and "-"';
      problems.push({ offset: keyOffset, path, message });
    }
    problems.push(...checkShape(GROUP_SCHEMA, value, path));
    const said = validate(GROUP_SCHEMA, value, path, root, problems);
    if (said === undefined) continue;
    const options = merge(defaults, said);
    groups.set(key, options);
    saidGroups.set(key, keysOf(value));
    problems.push(...shortWindows(options, said.allow === undefined ? ["defaults"] : path, root, context));
  }
  problems.push(...shortWindows(defaults, ["defaults"], root, context));
  if (file === undefined) return undefined;
  const { timeZone = "UTC", allowUnknownGroups = true } = file;
  const stuck = { ...DEFAULT_STUCK, ...file.stuck };
  const said = { top: keysOf(root), defaults: keysOf(nodeAt(root, ["defaults"])), groups: saidGroups };
  return { options: { timeZone, allowUnknownGroups, stuck, defaults, groups }, said };
}

/** Parses a value with a schema. Adds what is wrong to `problems`, and then returns undefined. */
function validate<T>(
  schema: v.GenericSchema<unknown, T>,
  node: SourceNode,
  path: KeyPath,
  root: SourceNode,
  problems: Problem[],
): T | undefined {
  const result = v.safeParse(schema, valueOf(node));
  if (result.success) return result.output;
  for (const issue of result.issues) {
    const at = [...path, ...(issue.path ?? []).map(({ key }) => key as string | number)];
    const actual = nodeAt(root, at);
    if (actual !== undefined) problems.push(wrong(issue.message, actual, at));
    // A list in the place of a mapping has been told of already.
    else if (nodeAt(root, at.slice(0, -1))?.kind === "mapping") {
      problems.push({ offset: offsetAt(root, at), path: at, message: "is missing" });
    }
  }
  return undefined;
}

function wrong(message: string, actual: SourceNode, path: KeyPath): Problem {
  return { offset: actual.offset, path, message: `${message}: it is ${whatItIs(actual)}` };
}

function whatItIs(node: SourceNode): string {
  if (node.kind === "mapping") return node.pairs.length === 0 ? "an empty mapping" : "a mapping";
  if (node.kind === "sequence") return node.items.length === 0 ? "an empty list" : "a list";
  if (node.value === null) return "empty";
  // Errors are logged, and shown to whoever asks whether the server is ready.
  const text = JSON.stringify(node.value).replace(/\/\/[^/@]*@/, "//…@");
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`;
}

/** Lays what a group says over what applies otherwise. Of `drain`, `onNodeGone` and `health`, each key by itself. */
function merge(base: GroupOptions, { settle, health, drain, onNodeGone, ...said }: SaidGroup): GroupOptions {
  const { budgets = base.health.budgets, ...rest } = health ?? {};
  return {
    ...base,
    ...said,
    settleMs: settle ?? base.settleMs,
    drain: { ...base.drain, ...drain },
    onNodeGone: { ...base.onNodeGone, ...onNodeGone },
    health: { ...withoutBudgets(base.health), ...rest, ...(budgets === "refuse" && { budgets }) },
  };
}

function withoutBudgets({ budgets: _, ...rest }: GroupOptions["health"]): GroupOptions["health"] {
  return rest;
}

/** Mappings whose keys count by themselves. */
const PARTED: ReadonlySet<string> = new Set(["drain", "onNodeGone", "health", "stuck"]);

/** The keys that a mapping says; those in the mappings of {@link PARTED} with the name of what they are in. */
function keysOf(node: SourceNode | undefined): ReadonlySet<string> {
  if (node?.kind !== "mapping") return new Set();
  return new Set(node.pairs.flatMap(({ key, value }) => {
    const isParted = PARTED.has(key) && value.kind === "mapping";
    return isParted ? value.pairs.map((inner) => `${key}.${inner.key}`) : [key];
  }));
}

/** Finds the rules that a server without a cluster cannot follow. */
function needsCluster(
  node: SourceNode | undefined,
  path: KeyPath,
  store: string,
  keys: readonly KeyPath[] = CLUSTER_KEYS,
): Problem[] {
  const message = `needs a Kubernetes cluster: with --store ${store} nobody knows the hosts' Nodes and pods`;
  const found = keys.flatMap((key) => {
    const value = nodeAt(node, key);
    return value === undefined ? [] : [{ offset: value.offset, path: [...path, ...key], message }];
  });
  const slots = nodeAt(node, ["slots"]);
  if (slots?.kind === "scalar" && typeof slots.value === "string" && slots.value.endsWith("%")) {
    found.push({ offset: slots.offset, path: [...path, "slots"], message: `${message}: give a number` });
  }
  return found;
}

/** Finds what a server that drains nothing cannot follow: no hold notes a Node then. */
function needsDrains(node: SourceNode | undefined, path: KeyPath): Problem[] {
  const key = ["onNodeGone", "action"];
  const action = nodeAt(node, key);
  if (action?.kind !== "scalar" || action.value !== "release") return [];
  const message = "release needs drains: with --drain=false no hold notes its Node";
  return [{ offset: action.offset, path: [...path, ...key], message }];
}

/** Finds a number of slots whose holders' record may be too long for a Lease. */
function tooManySlots(node: SourceNode | undefined, path: KeyPath): Problem[] {
  const slots = nodeAt(node, ["slots"]);
  if (slots?.kind !== "scalar" || typeof slots.value !== "number" || slots.value <= MAX_LEASE_SLOTS) return [];
  const message = `must be at most ${MAX_LEASE_SLOTS}, since the Lease of a group has no room for more holders`;
  return [wrong(message, slots, [...path, "slots"])];
}

/** Finds the windows in which no slot could ever be granted, because their cutoff takes all of their time. */
function shortWindows(
  { allow, drain }: GroupOptions,
  path: KeyPath,
  root: SourceNode,
  { drainTimeoutMs }: FileContext,
): Problem[] {
  const limit = drainTimeoutMs === undefined ? 0 : drain.timeoutMs ?? drainTimeoutMs;
  return allow.flatMap(({ forMs, cutoffMs }, index) => {
    const cutoff = cutoffMs ?? limit;
    if (forMs > cutoff) return [];
    const at = [...path, "allow", index, "for"];
    const what = cutoffMs === undefined
      ? `the time limit of a drain, ${formatDuration(cutoff)}, which is the cutoff where none is said`
      : `the window's cutoff, ${formatDuration(cutoff)}`;
    return [wrong(`must be longer than ${what}`, nodeAt(root, at) ?? root, at)];
  });
}

/** Writes a problem as one line. */
function describe({ offset, path, message }: Problem, text: string, name: string): string {
  const before = text.slice(0, offset).split("\n");
  const place = `${name}:${before.length}:${before.at(-1)!.length + 1}`;
  const key = path.map((step, index) => {
    if (typeof step === "number") return `[${step}]`;
    const shown = /^[\w$-]+$/.test(step) ? step : JSON.stringify(step);
    return index === 0 ? shown : `.${shown}`;
  }).join("");
  return key === "" ? `${place}: the file ${message}` : `${place}: ${key}: ${message}`;
}
