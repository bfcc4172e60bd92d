/**
 * The fault run: runs replicas of the program on a real API server and many
 * clients, makes random faults, and checks the history. `deno task chaos
 * --minutes 30 --seed 1` runs it from the command line.
 *
 * @module
 */

import { checkHistory, type CheckResult } from "../../src/simulator/checker.ts";
import type { ClientTiming } from "../../src/simulator/client.ts";
import { Fleet } from "../../src/simulator/fleet.ts";
import { formatOperation } from "../../src/simulator/history.ts";
import { Random } from "../../src/simulator/random.ts";
import { until } from "../support/condition.ts";
import { ControlPlane } from "../support/control_plane.ts";
import { makeFaults, randomOffset } from "./faults.ts";
import { Replica } from "./replica.ts";

/** Options of {@link runFaults}. */
export interface FaultRunOptions {
  /** How long to make faults, in milliseconds. */
  readonly durationMs: number;
  /** Determines the faults and the clients. */
  readonly seed: number;
  /** @default {3} */
  readonly replicas?: number;
  /** @default {200} */
  readonly clients?: number;
  /** @default {5} */
  readonly groups?: number;
  /** A script to run instead of the program, as a path from the project's root, and its environment. */
  readonly entry?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Ends the run at the first violation. @default {false} */
  readonly untilViolation?: boolean;
  /** A file for the history. */
  readonly history?: string;
  /** Inspects the cluster at the end, before it is removed. */
  readonly inspect?: (plane: ControlPlane, namespace: string, report: FaultReport) => Promise<void>;
  /** Receives a line of progress every ten seconds. */
  readonly log?: (line: string) => void;
}

/** The results of a fault run. */
export interface FaultReport {
  readonly seed: number;
  readonly durationMs: number;
  /** The number of operations by outcome. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** The number of faults by kind. */
  readonly faults: Readonly<Record<string, number>>;
  readonly check: CheckResult;
  /** How many turns the clients had in total. */
  readonly turns: number;
  /**
   * How long it took after the faults until every client had another turn, in milliseconds; undefined if one had none.
   */
  readonly allTurnsMs?: number;
  /** How many clients had no turn in time after the faults. */
  readonly withoutTurn: number;
}

/** Short times, so that much happens in a short run. */
const TIMING: ClientTiming = {
  poll: [800, 1_600],
  // Long enough that other hosts get the next turns.
  update: [0, 6_000],
  reboot: [10, 120],
  postponeChance: 0.1,
  postponeEvery: 100,
  postponeUpTo: 300,
};

/** Shorter than some pauses, so that clients give up and ask another replica while their request is in progress. */
const REQUEST_TIMEOUT_MS = 5_000;

/**
 * How long a request may outlive its client, in milliseconds: the longest pause
 * of a replica (18 s), one of the API server (12.5 s), and calls with a deadline
 * of 10 s that the replica repeats.
 */
const LATE_MS = 60_000;

/** A replica detects a silent watch after 75 s, and a resumed replica has an old view. */
const REFUSAL_WINDOW_MS = 120_000;

/** How long after the faults every client must have had a turn, in milliseconds. */
const LIVENESS_MS = 180_000;

/** Runs clients and faults, then checks that every client gets another turn, and checks the history. */
export async function runFaults(options: FaultRunOptions): Promise<FaultReport> {
  const { seed, durationMs, clients = 200, groups = 5, entry, environment, log = () => {} } = options;
  const random = new Random(seed);
  await using cleanup = new AsyncDisposableStack();
  const plane = cleanup.use(await ControlPlane.start());
  const namespace = await plane.createNamespace();
  const replicas = await Promise.all(Array.from({ length: options.replicas ?? 3 }, async (_, index) => {
    const started = await Replica.start(
      plane,
      { name: `replica-${index + 1}`, namespace, entry, environment },
      randomOffset(random),
    );
    return cleanup.use(started);
  }));

  const file = options.history &&
    cleanup.use(Deno.openSync(options.history, { write: true, create: true, truncate: true }));
  const encoder = new TextEncoder();
  const fleet = cleanup.use(
    new Fleet({
      targets: replicas.map((replica) => replica.url),
      clients,
      groups,
      slots: 1,
      speed: 1,
      seed,
      timing: TIMING,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      keep: 10_000_000,
      record: file ? (operation) => void file.writeSync(encoder.encode(formatOperation(operation))) : undefined,
    }),
  );
  const check = () =>
    checkHistory(fleet.history, { slots: 1, lateMs: LATE_MS, refusalWindowMs: REFUSAL_WINDOW_MS, maxSearched: 0 });
  const overlaps = () => [...fleet.groups.values()].reduce((total, group) => total + group.overlaps, 0);

  const faults: Record<string, number> = {};
  const faultsEnd = new AbortController();
  const clientsEnd = new AbortController();
  const living = fleet.run(Infinity, clientsEnd.signal);
  const failing = makeFaults({ plane, replicas }, random, faultsEnd.signal, (kind) => {
    faults[kind] = (faults[kind] ?? 0) + 1;
  });

  const began = performance.now();
  let looked = 0;
  let nextLine = began;
  await until(() => {
    const now = performance.now();
    if (now >= nextLine) {
      nextLine += 10_000;
      const made = Object.values(faults).reduce((sum, each) => sum + each, 0);
      log(
        `${
          Math.round((now - began) / 1_000)
        } s: ${fleet.operations} operations, ${made} faults, ${overlaps()} overlaps`,
      );
    }
    if (options.untilViolation && overlaps() > looked) {
      looked = overlaps();
      if (check().violationCount > 0) return true;
    }
    return now - began >= durationMs;
  }, { timeoutMs: durationMs + 60_000, what: "the run is over" });
  const faultsMs = performance.now() - began;
  faultsEnd.abort();
  await failing;

  log("the faults are over");
  const before = new Map(fleet.clients.map((client) => [client, client.turns]));
  const without = () => fleet.clients.filter((client) => client.turns === before.get(client)).length;
  const calm = performance.now();
  let allTurnsMs: number | undefined;
  if (!(options.untilViolation && check().violationCount > 0)) {
    await until(() => without() === 0, { timeoutMs: LIVENESS_MS }).then(
      () => allTurnsMs = Math.round(performance.now() - calm),
      () => {},
    );
  }
  clientsEnd.abort();
  await living;
  if (without() > 0 && !options.untilViolation) {
    for (const replica of replicas) log(`${replica.url.host}: ${(await replica.log()).slice(-2_000)}`);
  }
  const report: FaultReport = {
    seed,
    durationMs: Math.round(faultsMs),
    outcomes: Object.fromEntries([...fleet.outcomes].sort(([a], [b]) => a < b ? -1 : 1)),
    faults,
    check: check(),
    turns: fleet.clients.reduce((sum, client) => sum + client.turns, 0),
    allTurnsMs,
    withoutTurn: without(),
  };
  await options.inspect?.(plane, namespace, report);
  return report;
}

/** Formats a report as text. */
export function formatReport(report: FaultReport): string {
  const { check } = report;
  const table = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts).map(([name, count]) => `  ${String(count).padStart(9)}  ${name}`);
  const longest = check.turns.reduce((most, each) => Math.max(most, each.longestWaitMs ?? 0), 0);
  return [
    `seed ${report.seed}, faults for ${(report.durationMs / 1_000).toFixed(0)} s`,
    `operations: ${check.operations}`,
    ...table(report.outcomes),
    `faults: ${Object.values(report.faults).reduce((sum, each) => sum + each, 0)}`,
    ...table(report.faults),
    `turns: ${report.turns}, longest wait: ${(longest / 1_000).toFixed(1)} s`,
    report.allTurnsMs === undefined
      ? `liveness: ${report.withoutTurn} clients had no turn in time after the faults`
      : `liveness: every client had another turn within ${(report.allTurnsMs / 1_000).toFixed(1)} s after the faults`,
    `overlaps after a release that took effect late: ${check.lateOverlaps.length}`,
    ...check.lateOverlaps.slice(0, 5).map((each) => `  ${each.group}: ${each.message}`),
    `violations: ${check.violationCount}`,
    ...check.violations.slice(0, 10).map((each) => `  ${each.kind} in ${each.group}: ${each.message}`),
  ].join("\n");
}
