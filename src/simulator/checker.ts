/**
 * Checks a history against a counting semaphore, using only what the clients
 * saw. It needs no server and no clock.
 *
 * A client certainly holds a slot from the time a yes arrives until it sends
 * the next steady-state. The service promises that at no time more clients than
 * slots do. Conversely, when the service refuses a client because all slots are
 * taken, other clients must possibly have held all of them.
 *
 * @module
 */

import { effectOf } from "./effects.ts";
import { describeOperation, type Operation } from "./history.ts";
import { findLinearization } from "./linearizability.ts";

/** Options of {@link checkHistory}. */
export interface CheckOptions {
  /** How many slots each group has. */
  readonly slots: number;
  /**
   * How long after its invocation a request of unknown outcome can still take
   * effect, in milliseconds. While such a release of a client is in progress, it
   * is not certain that the client holds a slot.
   *
   * @default {Infinity}
   */
  readonly lateMs?: number;
  /** How old the state that a refusal is based on may be, in milliseconds. @default {60_000} */
  readonly refusalWindowMs?: number;
  /** In groups of at most this many operations, search for an order that explains every reply. @default {1_000} */
  readonly maxSearched?: number;
  /** Called before each group is checked, with the number of groups checked so far and of all groups. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** A broken promise of the service, with the operations that prove it. */
export interface Violation {
  /**
   * - `exclusion`: at one time, more clients than slots certainly held one.
   * - `refusal`: the service refused a client because all slots were taken, and they cannot have been.
   * - `order`: no order of the operations explains every reply.
   */
  readonly kind: "exclusion" | "refusal" | "order";
  /** The group's name. */
  readonly group: string;
  /** One sentence that describes it. */
  readonly message: string;
  /** The operations that prove it. */
  readonly operations: readonly Operation[];
}

/** How often one client got its turn, and how long it waited. */
export interface ClientTurns {
  /** The client's id. */
  readonly client: string;
  /** The group's name. */
  readonly group: string;
  /** How many times it was granted a slot that it did not hold before. */
  readonly grants: number;
  /** How many times it released one. */
  readonly releases: number;
  /** Its longest wait from the first pre-reboot to a yes, in milliseconds; undefined when it never got a yes. */
  readonly longestWaitMs?: number;
  /**
   * How long it had been waiting for a yes when the history ended, in milliseconds; undefined when it was not waiting.
   */
  readonly waitingMs?: number;
}

/** The result of {@link checkHistory}. */
export interface CheckResult {
  /** The number of operations. */
  readonly operations: number;
  /** The number of violations. */
  readonly violationCount: number;
  /** The first violations, at most 100. */
  readonly violations: readonly Violation[];
  /**
   * Times at which more clients than slots believed they held one, and a release
   * that took effect late may explain it. The service kept its promise, and too
   * many hosts rebooted nevertheless.
   */
  readonly lateOverlaps: readonly Violation[];
  /** The turns of every client. The checker does not judge them. */
  readonly turns: readonly ClientTurns[];
  /** In how many groups the search for an order came to a result. */
  readonly searched: number;
  /** In how many groups there was no search because they are too long, or the search gave up. */
  readonly notSearched: number;
}

const MAX_REPORTED = 100;

/** How many states the searches of all groups may examine together, and at least each: a few seconds. */
const MAX_STATES = 200_000;
const MIN_STATES = 2_000;
const NS_PER_MS = 1e6;

/** Checks a history. A million operations take a few seconds. */
export function checkHistory(history: readonly Operation[], options: CheckOptions): CheckResult {
  const { slots, maxSearched = 1_000 } = options;
  const lateNs = Math.round((options.lateMs ?? Infinity) * NS_PER_MS);
  const refusalWindowNs = Math.round((options.refusalWindowMs ?? 60_000) * NS_PER_MS);
  const end = history.reduce((latest, each) => Math.max(latest, each.completed ?? each.invoked), 0);
  const all: Violation[] = [];
  const lateOverlaps: Violation[] = [];
  const turns: ClientTurns[] = [];
  let checked = 0;
  let searched = 0;
  let notSearched = 0;

  const groups = Map.groupBy(history, (each) => each.group);
  const maxStates = Math.max(MIN_STATES, Math.floor(MAX_STATES / groups.size));
  for (const [group, operations] of groups) {
    options.onProgress?.(checked++, groups.size);
    operations.sort((a, b) => a.invoked - b.invoked);
    const clients = Map.groupBy(operations, (each) => each.client);
    const found = checkExclusion(group, clients, slots, lateNs, lateOverlaps);
    found.push(...checkRefusals(group, operations, clients, slots, lateNs, refusalWindowNs));
    if (operations.length > maxSearched) notSearched++;
    else {
      const search = findLinearization(operations, { slots, lateNs, refusalWindowNs, maxStates });
      if (search.kind === "undecided") notSearched++;
      else searched++;
      if (search.kind === "violation" && found.length === 0) {
        found.push({
          kind: "order",
          group,
          message: `no order of the operations explains that ${describeOperation(search.operation)}: ` +
            `before it the holders were ${search.holders.map((each) => `[${each.join(", ")}]`).join(" or ")}`,
          operations: [search.operation, ...search.pending],
        });
      }
    }
    all.push(...found);
    for (const [client, own] of clients) turns.push(countTurns(client, group, own, end));
  }
  return {
    operations: history.length,
    violationCount: all.length,
    violations: all.slice(0, MAX_REPORTED),
    lateOverlaps,
    turns,
    searched,
    notSearched,
  };
}

/** A client's belief that it holds a slot, which begins with a yes. */
interface Hold {
  readonly operation: Operation;
  /** False when a release that is still in progress may have freed the slot. */
  readonly sure: boolean;
}

/** Finds the times at which more clients than slots hold one. */
function checkExclusion(
  group: string,
  clients: ReadonlyMap<string, Operation[]>,
  slots: number,
  lateNs: number,
  lateOverlaps: Violation[],
): Violation[] {
  const events: { at: number; client: string; hold?: Hold }[] = [];
  for (const [client, operations] of clients) {
    const releases = operations.filter((each) => each.operation === "steady-state")
      .flatMap((each) => effectOf(each, lateNs) ?? []);
    for (const release of releases) events.push({ at: release.from, client });
    const begins = releases.map((release) => release.from);
    let latest = -Infinity;
    const latestEnds = releases.map((release) => latest = Math.max(latest, release.to));
    for (const operation of operations) {
      if (operation.outcome !== "granted") continue;
      const at = operation.completed!;
      const begun = upperBound(begins, at);
      const sure = begun === 0 || latestEnds[begun - 1]! <= operation.invoked;
      events.push({ at, client, hold: { operation, sure } });
    }
  }
  // At equal times, releases come first: what may be correct counts as correct.
  events.sort((a, b) => a.at - b.at || Number(a.hold !== undefined) - Number(b.hold !== undefined));

  const violations: Violation[] = [];
  const holds = new Map<string, Hold>();
  let sure = 0;
  for (const { client, hold } of events) {
    const before = holds.get(client);
    if (hold === undefined) {
      if (before?.sure) sure--;
      holds.delete(client);
      continue;
    }
    if (before !== undefined && (before.sure || !hold.sure)) continue;
    holds.set(client, hold);
    if (hold.sure) sure++;
    if (holds.size <= slots) continue;
    const overlapping = [...holds.values()].filter((each) => sure <= slots || each.sure).map((each) => each.operation);
    const overlap: Violation = {
      kind: "exclusion",
      group,
      message: `${overlapping.length} clients held a slot at the same time, and the limit is ${slots}: ` +
        overlapping.map(describeOperation).join("; "),
      operations: overlapping,
    };
    if (sure > slots) violations.push(overlap);
    else lateOverlaps.push(overlap);
  }
  return violations;
}

/** Finds refusals at times at which others cannot have held all slots. */
function checkRefusals(
  group: string,
  operations: readonly Operation[],
  clients: ReadonlyMap<string, Operation[]>,
  slots: number,
  lateNs: number,
  windowNs: number,
): Violation[] {
  const possible = new Map([...clients].map(([client, own]) => [client, possibleHolds(own, lateNs)]));
  const changes = [...possible.values()].flat().flatMap(([from, to]) => [{ at: from, by: 1 }, { at: to, by: -1 }])
    .filter((change) => change.at !== Infinity).sort((a, b) => a.at - b.at || b.by - a.by);
  const times = changes.map((change) => change.at);
  let count = 0;
  const counts = changes.map((change) => count += change.by);

  const violations: Violation[] = [];
  for (const refusal of operations) {
    if (refusal.outcome !== "refused" || refusal.kind !== "lock_held") continue;
    const from = refusal.invoked - windowNs;
    const own = possible.get(refusal.client)!;
    // Backwards, because a refusal is most likely based on the latest state.
    let full = false;
    for (let at = upperBound(times, refusal.completed!) - 1; at >= 0 && !full; at--) {
      // A slot that the client itself may hold is not held by another.
      const others = counts[at]! - (covers(own, times[at]!) ? 1 : 0);
      full = others >= slots;
      if (times[at]! < from) break;
    }
    if (full) continue;
    violations.push({
      kind: "refusal",
      group,
      message: `${describeOperation(refusal)}, but other clients cannot have held all ${slots} slots`,
      operations: [refusal],
    });
  }
  return violations;
}

/** The spans in which a client may have held a slot: disjoint, in order, both ends included. */
function possibleHolds(operations: readonly Operation[], lateNs: number): [number, number][] {
  const releases = operations.filter((each) => each.outcome === "released");
  const holds: [number, number][] = [];
  let next = 0;
  for (const operation of operations) {
    if (operation.operation !== "pre-reboot") continue;
    const grant = effectOf(operation, lateNs);
    if (grant === undefined) continue;
    // Only a release that began after the latest possible time of the grant certainly ends it.
    while (next < releases.length && releases[next]!.invoked < grant.from) next++;
    let ending = next;
    while (ending < releases.length && releases[ending]!.invoked < grant.to) ending++;
    const to = releases[ending]?.completed ?? Infinity;
    const last = holds.at(-1);
    if (last !== undefined && grant.from <= last[1]) last[1] = Math.max(last[1], to);
    else holds.push([grant.from, to]);
  }
  return holds;
}

function countTurns(client: string, group: string, operations: readonly Operation[], end: number): ClientTurns {
  let grants = 0;
  let releases = 0;
  let holds = false;
  let asking: number | undefined;
  let longest: number | undefined;
  for (const { operation, outcome, invoked, completed } of operations) {
    if (operation === "steady-state") {
      asking = undefined;
      if (outcome === "released" && holds) releases++;
      if (outcome === "released") holds = false;
    } else if (outcome !== "granted") asking ??= invoked;
    else {
      longest = Math.max(longest ?? 0, completed! - (asking ?? invoked));
      asking = undefined;
      if (!holds) grants++;
      holds = true;
    }
  }
  return {
    client,
    group,
    grants,
    releases,
    longestWaitMs: longest === undefined ? undefined : longest / NS_PER_MS,
    waitingMs: asking === undefined ? undefined : (end - asking) / NS_PER_MS,
  };
}

/** Counts the items that are not greater than `value`. */
function upperBound(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Whether one of the spans, which are in order, contains `at` and does not end with it. */
function covers(spans: readonly [number, number][], at: number): boolean {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (spans[middle]![1] <= at) low = middle + 1;
    else high = middle;
  }
  return low < spans.length && spans[low]![0] <= at;
}
