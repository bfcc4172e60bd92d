/**
 * Checks a history of operations against the counting semaphore, from what the
 * clients saw alone. Pure: it knows no server and no clock.
 *
 * A client surely holds a slot from the moment a yes reached it to the moment
 * it sends the next steady-state. More such clients than slots at one moment is
 * what the service promises never to happen. Conversely a refusal for want of
 * slots must have had others that possibly held them all.
 *
 * @module
 */

import { effectOf } from "./effects.ts";
import type { Operation } from "./history.ts";
import { findLinearization } from "./linearizability.ts";

/** Options of {@link checkHistory}. */
export interface CheckOptions {
  /** How many clients of a group may hold a slot at a time. */
  readonly slots: number;
  /**
   * How long after its invocation a request whose end its client never learned
   * can still take effect. As long as one of a client's releases is out there,
   * it is not certain that the client holds anything.
   *
   * @default {Infinity}
   */
  readonly lateMs?: number;
  /** How old the state may be that a refusal rests on. @default {60_000} */
  readonly refusalWindowMs?: number;
  /** Groups of at most so many operations are also searched for an order that explains every reply. @default {1_000} */
  readonly maxSearched?: number;
}

/** Something that must not happen, with the operations that show it. */
export interface Violation {
  /**
   * - `exclusion`: more clients than slots surely held one at a moment.
   * - `refusal`: a client was refused for want of slots that nobody can have held.
   * - `order`: no order of the operations explains every reply.
   */
  readonly kind: "exclusion" | "refusal" | "order";
  /** The group's name. */
  readonly group: string;
  /** What happened, in a sentence. */
  readonly message: string;
  /** The operations that show it. */
  readonly operations: readonly Operation[];
}

/** What became of one client. */
export interface Turns {
  /** The client's id. */
  readonly client: string;
  /** The group's name. */
  readonly group: string;
  /** How often it was granted a slot that it did not hold before. */
  readonly grants: number;
  /** How often it gave one back. */
  readonly releases: number;
  /** Its longest way from first asking to a yes, in milliseconds; undefined where it never got one. */
  readonly longestWaitMs?: number;
  /** For how long it had been asking in vain when the history ended, in milliseconds; undefined where it had not. */
  readonly waitingMs?: number;
}

/** The result of {@link checkHistory}. */
export interface CheckResult {
  /** How many operations were checked. */
  readonly operations: number;
  /** How many violations there are. */
  readonly violationCount: number;
  /** The first of them, 100 at most. */
  readonly violations: readonly Violation[];
  /**
   * Moments at which more clients than slots believed to hold one, which a late
   * release of a client that had gone away may explain: the locks were kept
   * right, and two hosts rebooted all the same.
   */
  readonly lateOverlaps: readonly Violation[];
  /** Every client of the history. Liveness is for the reader to judge. */
  readonly turns: readonly Turns[];
  /** Groups whose every reply was explained by an order. */
  readonly searched: number;
  /** Groups that were too long for that, or whose search was given up. */
  readonly notSearched: number;
}

const MAX_REPORTED = 100;
const NS_PER_MS = 1e6;

/** Checks a whole history. Takes a few seconds for a million operations. */
export function checkHistory(history: readonly Operation[], options: CheckOptions): CheckResult {
  const { slots, maxSearched = 1_000 } = options;
  const lateNs = Math.round((options.lateMs ?? Infinity) * NS_PER_MS);
  const refusalWindowNs = Math.round((options.refusalWindowMs ?? 60_000) * NS_PER_MS);
  const end = history.reduce((latest, each) => Math.max(latest, each.completed ?? each.invoked), 0);
  const all: Violation[] = [];
  const lateOverlaps: Violation[] = [];
  const turns: Turns[] = [];
  let searched = 0;
  let notSearched = 0;

  for (const [group, operations] of groupBy(history, (each) => each.group)) {
    operations.sort((a, b) => a.invoked - b.invoked);
    const clients = groupBy(operations, (each) => each.client);
    const found = checkExclusion(group, clients, slots, lateNs, lateOverlaps);
    found.push(...checkRefusals(group, operations, clients, slots, lateNs, refusalWindowNs));
    if (operations.length > maxSearched) notSearched++;
    else {
      const search = findLinearization(operations, { slots, lateNs, refusalWindowNs });
      if (search.kind === "undecided") notSearched++;
      else searched++;
      if (search.kind === "violation" && found.length === 0) {
        found.push({
          kind: "order",
          group,
          message: `no order of the operations explains that ${describe(search.operation)}: ` +
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

/** Says what an operation was, for a person. */
export function describe(operation: Operation): string {
  const { client, outcome, kind, invoked, completed } = operation;
  const seconds = (ns: number) => (ns / 1e9).toFixed(6);
  const span = `${seconds(invoked)} s to ${completed === null ? "?" : `${seconds(completed)} s`}`;
  return `${client} was answered ${outcome}${kind && ` (${kind})`} to ${operation.operation} (${span})`;
}

/** A client believes to hold a slot, from a yes on. */
interface Hold {
  readonly operation: Operation;
  /** False where a release that is still out there may have freed the slot. */
  readonly sure: boolean;
}

/** Follows the clients that surely hold a slot through time. */
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
  // At one moment, releases come first: whatever may be right is.
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
      message: `${overlapping.length} clients held a slot at once and there are ${slots}: ` +
        overlapping.map(describe).join("; "),
      operations: overlapping,
    };
    if (sure > slots) violations.push(overlap);
    else lateOverlaps.push(overlap);
  }
  return violations;
}

/** Looks for refusals at a time when the slots cannot all have been taken by others. */
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
    // Backwards, since the latest state is the likeliest one.
    let full = false;
    for (let at = upperBound(times, refusal.completed!) - 1; at >= 0 && !full; at--) {
      // While the client itself possibly holds a slot, that is none that another held.
      const others = counts[at]! - (covers(own, times[at]!) ? 1 : 0);
      full = others >= slots;
      if (times[at]! < from) break;
    }
    if (full) continue;
    violations.push({
      kind: "refusal",
      group,
      message: `${describe(refusal)}, but others cannot have held all ${slots} slots then`,
      operations: [refusal],
    });
  }
  return violations;
}

/** The times in which a client may have held a slot: disjoint and in order, both ends included. */
function possibleHolds(operations: readonly Operation[], lateNs: number): [number, number][] {
  const releases = operations.filter((each) => each.outcome === "released");
  const holds: [number, number][] = [];
  let next = 0;
  for (const operation of operations) {
    if (operation.operation !== "pre-reboot") continue;
    const grant = effectOf(operation, lateNs);
    if (grant === undefined) continue;
    // Only a release that began after the last moment of the grant surely ends it.
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

function countTurns(client: string, group: string, operations: readonly Operation[], end: number): Turns {
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

/** The number of items that are not greater than `value`. */
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

/** Whether one of the spans, in order, goes on just after a moment. */
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

function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return groups;
}
