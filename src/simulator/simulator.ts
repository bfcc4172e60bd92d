/**
 * A simulation from its start to its summary.
 *
 * @module
 */

import { systemClock } from "../lock/clock.ts";
import { checkHistory } from "./checker.ts";
import { Fleet } from "./fleet.ts";
import { formatOperation } from "./history.ts";
import { type SimulationOptions, SimulationOptionsError } from "./options.ts";
import { formatSummary, Progress, type ProgressSink, type Summary } from "./report.ts";

/** Where a simulation writes. */
export interface SimulationIo {
  /** Gets the summary, as text or as one JSON object. */
  readonly write: (text: string) => void;
  /** Gets the progress; undefined for none. */
  readonly progress?: ProgressSink;
  /** How long a server may take to start, in milliseconds, where the run has no duration. @default {10_000} */
  readonly startMs?: number;
}

/** A request that is lost takes effect within this time, or never: no call of a replica to its store lives longer. */
const LATE_MS = 60_000;

/** A refusal may rest on a state that is so old: a watch that went silent is found out earlier. */
const REFUSAL_WINDOW_MS = 120_000;

/** How often a server that may be starting is looked for, in milliseconds. */
const START_POLL_MS = 200;

const DEFAULT_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

/**
 * Lets virtual hosts live on a service, checks what they saw, and writes a summary.
 *
 * @param signal Ends it early; what was seen so far is checked all the same.
 * @returns The summary, as written. The service failed where `violationCount` is not 0.
 * @throws {SimulationOptionsError} The history's file cannot be opened; or nobody answers at any of the targets, and no duration is set.
 */
export async function runSimulation(
  options: SimulationOptions,
  io: SimulationIo,
  signal: AbortSignal = new AbortController().signal,
): Promise<Summary> {
  // With a duration it ends in any case, and the summary says that nobody was there.
  if (options.durationMs === undefined) await awaitAnyone(options.targets, io.startMs ?? 10_000, signal);
  using file = options.history === undefined ? undefined : new HistoryFile(options.history);
  using fleet = new Fleet({ ...options, record: file && ((operation) => file.write(formatOperation(operation))) });
  const ending = new AbortController();
  const stop = () => ending.abort(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  const timer = options.durationMs === undefined ? undefined : setTimeout(() => ending.abort(), options.durationMs);
  const began = performance.now();
  try {
    using _progress = io.progress && new Progress(fleet, options.rounds, io.progress);
    await fleet.run(options.rounds, ending.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
  const ended = signal.aborted ? "interrupted" : ending.signal.aborted ? "duration" : "done";
  const summary = summarize(options, fleet, performance.now() - began, ended);
  io.write(options.format === "json" ? `${JSON.stringify(summary)}\n` : formatSummary(summary));
  return summary;
}

/** Waits until somebody listens at one of the targets, which may be just starting. */
async function awaitAnyone(
  targets: SimulationOptions["targets"],
  startMs: number,
  signal: AbortSignal,
): Promise<void> {
  for (const began = performance.now(); !signal.aborted;) {
    for (const { hostname, port, protocol } of targets) {
      try {
        const address = { hostname: hostname.replace(/^\[|\]$/g, ""), port: Number(port) || DEFAULT_PORTS[protocol]! };
        (await Deno.connect(address)).close();
        return;
      } catch {
        // Perhaps at another, or later.
      }
    }
    if (performance.now() - began >= startMs) {
      const where = targets.map((target) => target.origin).join(" and ");
      throw new SimulationOptionsError(
        `nobody answers at ${where}: start a server there, such as with "deno task dev"`,
      );
    }
    await systemClock.sleep(START_POLL_MS, signal).catch(() => {});
  }
}

function summarize(options: SimulationOptions, fleet: Fleet, elapsedMs: number, ended: Summary["ended"]): Summary {
  const { slots, speed } = options;
  const check = checkHistory(fleet.history, { slots, lateMs: LATE_MS, refusalWindowMs: REFUSAL_WINDOW_MS });
  const count = (prefix: string): Record<string, number> =>
    Object.fromEntries(
      [...fleet.outcomes].filter(([name]) => name.startsWith(`${prefix} `))
        .map(([name, total]) => [name.slice(prefix.length + 1), total]),
    );
  const turns = fleet.clients.map((client) => client.turns);
  return {
    seed: options.seed,
    targets: options.targets.map((target) => target.origin),
    clients: options.clients,
    groups: options.groups,
    slots,
    speed,
    elapsedMs: Math.round(elapsedMs),
    ended,
    operations: fleet.operations,
    grants: fleet.outcomes.get("granted") ?? 0,
    releases: fleet.outcomes.get("released") ?? 0,
    refusals: count("refused"),
    errors: { ...count("error"), ...count("unknown") },
    latencyMs: percentiles(fleet.latenciesMs),
    longestWaitMs: Math.round(check.turns.reduce((most, each) => Math.max(most, each.longestWaitMs ?? 0), 0) * speed),
    turns: {
      least: turns.reduce((least, each) => Math.min(least, each), Infinity),
      most: turns.reduce((most, each) => Math.max(most, each), 0),
      total: turns.reduce((total, each) => total + each, 0),
    },
    withoutTurn: check.turns.filter((each) => each.grants === 0 && each.waitingMs !== undefined)
      .map(({ client, group }) => ({ client, group })),
    violationCount: check.violationCount,
    violations: check.violations,
    lateOverlaps: check.lateOverlaps.length,
    checked: check.operations,
  };
}

function percentiles(values: readonly number[]): Summary["latencyMs"] {
  if (values.length === 0) return undefined;
  const sorted = Float64Array.from(values).sort();
  const at = (part: number) => Math.round(sorted[Math.ceil(part * sorted.length) - 1]! * 1_000) / 1_000;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** A file that is written line by line and is complete after every line, also when the process is killed. */
class HistoryFile implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #encoder = new TextEncoder();

  constructor(path: string) {
    try {
      this.#file = Deno.openSync(path, { write: true, create: true, truncate: true });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : cause;
      throw new SimulationOptionsError(`--history cannot be written: ${reason}`, { cause });
    }
  }

  write(line: string): void {
    let rest = this.#encoder.encode(line);
    while (rest.length > 0) rest = rest.subarray(this.#file.writeSync(rest));
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
