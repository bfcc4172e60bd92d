/**
 * Runs one simulation: waits for the service, looks at what it holds, runs the
 * hosts, releases what they hold at the end, checks the history, and writes the
 * summary. It neither parses flags nor ends the process.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import { checkHistory, type CheckResult } from "./checker.ts";
import type { VirtualClient } from "./client.ts";
import { Fleet } from "./fleet.ts";
import { formatOperation, type Operation } from "./history.ts";
import { type SimulationOptions, SimulationOptionsError } from "./options.ts";
import { counted, formatSummary, Progress, type ProgressSink, type Summary } from "./report.ts";
import { type Survey, surveyServer } from "./survey.ts";

/** The outputs and the clock of a simulation. */
export interface SimulationIo {
  /** Writes the summary, as text or as one JSON object. */
  readonly write: (text: string) => void;
  /** Shows the progress; undefined to show none. */
  readonly progress?: ProgressSink;
  /** How long to wait for a server that starts, in milliseconds, if the run has no duration. @default {10_000} */
  readonly startMs?: number;
  /** Measures and waits. @default {systemClock} */
  readonly clock?: Clock;
}

/** A lost request takes effect within this time or never, because no call of a replica to its store takes longer. */
const LATE_MS = 60_000;

/** A refusal is based on a state of at most this age, because a replica detects a silent watch earlier. */
const REFUSAL_WINDOW_MS = 120_000;

/** How long requests in progress may go on when the run is asked to end, in milliseconds. */
const GRACE_MS = 2_000;

/** How long to try to release the slots that hosts hold at the end, in milliseconds. */
const RELEASE_MS = 5_000;

/** How often to look whether the server is reachable, in milliseconds. */
const WATCH_MS = 1_000;

/** How often to show how far the check is, in milliseconds. */
const CHECK_LINE_MS = 1_000;

/** How often to try to connect to a server that starts, in milliseconds. */
const START_POLL_MS = 200;

const DEFAULT_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

/**
 * Runs virtual hosts against a service, checks the replies they got, and writes a summary.
 *
 * @param signal Ends the run early. The run is checked nevertheless.
 * @returns The summary, as written. The service broke a promise if `violationCount` is not 0.
 * @throws {SimulationOptionsError} The file for the history cannot be opened, no target accepts connections and no
 *   duration is set, or the server cannot be what the options assume.
 */
export async function runSimulation(
  options: SimulationOptions,
  io: SimulationIo,
  signal: AbortSignal = new AbortController().signal,
): Promise<Summary> {
  const { clock = systemClock, startMs = 10_000 } = io;
  // With a duration the run ends in any case, and the summary shows the failed requests.
  if (options.durationMs === undefined) await awaitServer(options.targets, startMs, clock, signal);
  using file = options.history === undefined ? undefined : new HistoryFile(options.history);
  const record = file && ((operation: Operation) => file.write(formatOperation(operation)));
  using fleet = new Fleet({ ...options, record, clock });
  const began = clock.monotonic();
  let survey: Survey = { cleared: 0, earlier: [] };
  let ended: Summary["ended"] = "done";
  let left: readonly VirtualClient[] = [];
  try {
    const { slots, clear, durationMs } = options;
    const look = { slots, clear, startMs, optional: durationMs !== undefined, graceMs: GRACE_MS, clock };
    survey = await surveyServer(fleet, look, signal);
    for (const operation of survey.earlier) record?.(operation);
    if (survey.cleared > 0) {
      io.progress?.write(`Released ${counted(survey.cleared, "slot")} that an earlier run had left.\n`);
    }
    using _progress = io.progress && new Progress(fleet, options.rounds, io.progress, clock);
    ended = await runHosts(fleet, options, clock, signal);
  } finally {
    left = await fleet.release(ended === "unreachable" ? 0 : RELEASE_MS);
  }
  const elapsedMs = clock.monotonic() - began;
  const check = checkHistory([...survey.earlier, ...fleet.history], {
    slots: options.slots,
    lateMs: LATE_MS,
    refusalWindowMs: REFUSAL_WINDOW_MS,
    onProgress: io.progress && checkProgress(io.progress, clock),
  });
  const summary = summarize(options, { fleet, check, elapsedMs, ended, cleared: survey.cleared, left });
  io.write(options.format === "json" ? `${JSON.stringify(summary)}\n` : formatSummary(summary));
  return summary;
}

/** Runs the hosts to their end, to the end of the duration, to the signal, or until the server is given up. */
async function runHosts(
  fleet: Fleet,
  { rounds, durationMs, giveUpMs, targets }: SimulationOptions,
  clock: Clock,
  signal: AbortSignal,
): Promise<Summary["ended"]> {
  const timeout = new AbortController();
  const givenUp = new AbortController();
  const done = new AbortController();
  if (durationMs !== undefined) clock.sleep(durationMs, done.signal).then(() => timeout.abort(), () => {});
  const watching = watchServer(fleet, targets, giveUpMs, clock, done.signal).then(
    (isGone) => isGone && givenUp.abort(),
    () => {},
  );
  try {
    await fleet.run(rounds, AbortSignal.any([signal, timeout.signal, givenUp.signal]), GRACE_MS);
  } finally {
    done.abort();
    await watching;
  }
  if (signal.aborted) return "interrupted";
  if (givenUp.signal.aborted) return "unreachable";
  return timeout.signal.aborted ? "duration" : "done";
}

/**
 * Resolves to true once the server has been unreachable for too long. Hosts ask seldom, so after a request without a
 * reply this asks for a connection itself.
 *
 * @throws The signal's reason, when the signal aborts.
 */
async function watchServer(
  fleet: Fleet,
  targets: SimulationOptions["targets"],
  giveUpMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  for (;;) {
    await clock.sleep(Math.min(WATCH_MS, giveUpMs / 4), signal);
    if (fleet.unansweredSince === undefined) continue;
    if (await accepts(targets)) fleet.unansweredSince = undefined;
    else if (clock.monotonic() - (fleet.unansweredSince ?? Infinity) >= giveUpMs) return true;
  }
}

/** Shows how far the check is, if it takes longer than a moment. */
function checkProgress({ write }: ProgressSink, clock: Clock): (done: number, total: number) => void {
  let next = clock.monotonic() + CHECK_LINE_MS;
  return (done, total) => {
    if (clock.monotonic() < next) return;
    next = clock.monotonic() + CHECK_LINE_MS;
    write(`Checking the history: ${done} of ${total} groups\n`);
  };
}

/** Whether one of the targets accepts a connection. */
async function accepts(targets: SimulationOptions["targets"]): Promise<boolean> {
  for (const { hostname, port, protocol } of targets) {
    try {
      const address = { hostname: hostname.replace(/^\[|\]$/g, ""), port: Number(port) || DEFAULT_PORTS[protocol]! };
      (await Deno.connect(address)).close();
      return true;
    } catch {
      // Another target may listen, or this one later.
    }
  }
  return false;
}

/** Waits until one of the targets accepts a connection. */
async function awaitServer(
  targets: SimulationOptions["targets"],
  startMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  for (const began = clock.monotonic(); !signal.aborted;) {
    if (await accepts(targets)) return;
    if (clock.monotonic() - began >= startMs) {
      const where = targets.map((target) => target.origin).join(" and ");
      throw new SimulationOptionsError(
        `Cannot connect to ${where}: start a server there, for example with "deno task dev"`,
      );
    }
    await clock.sleep(START_POLL_MS, signal).catch(() => {});
  }
}

/** What a run came to. */
interface Results {
  readonly fleet: Fleet;
  readonly check: CheckResult;
  readonly elapsedMs: number;
  readonly ended: Summary["ended"];
  readonly cleared: number;
  readonly left: readonly VirtualClient[];
}

function summarize(options: SimulationOptions, results: Results): Summary {
  const { slots, speed } = options;
  const { fleet, check, elapsedMs, ended, cleared, left } = results;
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
    checked: fleet.history.length,
    cleared,
    left: left.map(({ id: client, group }) => ({ client, group })),
  };
}

function percentiles(values: readonly number[]): Summary["latencyMs"] {
  if (values.length === 0) return undefined;
  const sorted = Float64Array.from(values).sort();
  const at = (part: number) => Math.round(sorted[Math.ceil(part * sorted.length) - 1]! * 1_000) / 1_000;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** A file that contains every line as soon as it is written, even when the process is killed. */
class HistoryFile implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #encoder = new TextEncoder();

  constructor(path: string) {
    try {
      this.#file = Deno.openSync(path, { write: true, create: true, truncate: true });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : cause;
      throw new SimulationOptionsError(`Cannot write the file of --history: ${reason}`, { cause });
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
