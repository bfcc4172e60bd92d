/**
 * The output of a simulation: progress while it runs, and a summary at its end.
 * This module formats text; it runs and checks nothing.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { Violation } from "./checker.ts";
import type { ClientPhase, VirtualClient } from "./client.ts";
import type { Fleet, GroupTally } from "./fleet.ts";

/** The results of a simulation, to be written by {@link formatSummary} or as JSON. */
export interface Summary {
  /** The seed, which repeats the pauses. */
  readonly seed: number;
  /** The origins of the service's URLs. */
  readonly targets: readonly string[];
  /** How many hosts. */
  readonly clients: number;
  /** How many groups. */
  readonly groups: number;
  /** How many slots each group has. */
  readonly slots: number;
  /** How many times faster than real hosts they ran. */
  readonly speed: number;
  /** How long the run took, in real milliseconds. */
  readonly elapsedMs: number;
  /** Why it ended: each host had its turns, the duration was over, a signal came, or the server was gone. */
  readonly ended: "done" | "duration" | "interrupted" | "unreachable";
  /** How many requests ended. */
  readonly operations: number;
  /** How many replies to pre-reboot were 2xx, including those to a holder that asked again. */
  readonly grants: number;
  /** How many replies to steady-state were 2xx, including those to hosts that held no slot. */
  readonly releases: number;
  /** How many replies were 4xx, by their kind. */
  readonly refusals: Readonly<Record<string, number>>;
  /** How many replies were 5xx, by their kind, and how many requests got no reply, by the reason. */
  readonly errors: Readonly<Record<string, number>>;
  /** How long replies took, in milliseconds; undefined when there were none. */
  readonly latencyMs?: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
  /**
   * The longest wait of a host from the first pre-reboot to a yes, in simulated milliseconds (real ones times speed).
   */
  readonly longestWaitMs: number;
  /** How many times the hosts rebooted: the least and the most of one host, and the total. */
  readonly turns: { readonly least: number; readonly most: number; readonly total: number };
  /** The hosts that still waited for their first yes at the end. */
  readonly withoutTurn: readonly { readonly client: string; readonly group: string }[];
  /** The number of violations that the checker found. */
  readonly violationCount: number;
  /** The first violations. */
  readonly violations: readonly Violation[];
  /** How many times too many hosts rebooted because a lost release took effect late. Not a violation. */
  readonly lateOverlaps: number;
  /** How many operations the checker checked: fewer than all when the run was too long to keep them. */
  readonly checked: number;
  /** How many slots of an earlier run were released at the start. */
  readonly cleared: number;
  /** The clients that may still hold a slot, because their release failed. */
  readonly left: readonly { readonly client: string; readonly group: string }[];
}

/** The output for progress. */
export interface ProgressSink {
  /** Writes text unchanged. */
  readonly write: (text: string) => void;
  /** Whether the output can overwrite lines. */
  readonly isTerminal: boolean;
}

const REDRAW_MS = 200;
const LINE_MS = 5_000;

/**
 * Shows a fleet's progress until it is disposed of: on a terminal a table that stays in place, elsewhere regular lines.
 */
export class Progress implements Disposable {
  readonly #fleet: Fleet;
  readonly #rounds: number;
  readonly #sink: ProgressSink;
  readonly #clock: Clock;
  readonly #began: number;
  readonly #ended = new AbortController();
  #lines = 0;

  /** Starts to show the progress towards `rounds` reboots of each host. */
  constructor(fleet: Fleet, rounds: number, sink: ProgressSink, clock: Clock) {
    this.#fleet = fleet;
    this.#rounds = rounds;
    this.#sink = sink;
    this.#clock = clock;
    this.#began = clock.monotonic();
    if (sink.isTerminal) this.#show();
    this.#repeat(sink.isTerminal ? REDRAW_MS : LINE_MS);
  }

  /** Shows the progress a last time. */
  [Symbol.dispose](): void {
    this.#ended.abort();
    this.#show();
  }

  #repeat(everyMs: number): void {
    this.#clock.sleep(everyMs, this.#ended.signal).then(() => {
      this.#show();
      this.#repeat(everyMs);
    }, () => {});
  }

  #show(): void {
    const elapsed = (this.#clock.monotonic() - this.#began) / 1_000;
    if (!this.#sink.isTerminal) return this.#sink.write(`${progressLine(this.#fleet, this.#rounds, elapsed)}\n`);
    const lines = progressTable(this.#fleet, this.#rounds, elapsed);
    // Moves the cursor to the table's first line. Each line is cleared before it is written.
    const up = this.#lines === 0 ? "" : `\x1b[${this.#lines}A`;
    this.#sink.write(up + lines.map((line) => `\x1b[2K${line}\n`).join(""));
    this.#lines = lines.length;
  }
}

/** One line on the state of a fleet, such as `   5 s  turns 7/20  waiting 11  rebooting 2  requests 93  refused 40`. */
function progressLine(fleet: Fleet, rounds: number, elapsedSeconds: number): string {
  const phases = countPhases(fleet.clients);
  const { turns, refused, unreachable, failed, overlaps } = totals(fleet);
  const { unansweredSince } = fleet;
  return [
    `${elapsedSeconds.toFixed(0).padStart(4)} s`,
    `turns ${fraction(turns, fleet.clients.length * rounds)}`,
    `waiting ${phases.waiting}`,
    `rebooting ${phases.rebooting + phases.postponing}`,
    `requests ${fleet.operations}`,
    `refused ${refused}`,
    ...unreachable > 0 ? [`unreachable ${unreachable}`] : [],
    ...failed > 0 ? [`failed ${failed}`] : [],
    ...unansweredSince === undefined ? [] : ["SERVER UNREACHABLE"],
    ...overlaps > 0 ? [`OVERLAPS ${overlaps}`] : [],
  ].join("  ");
}

const MAX_GROUPS_SHOWN = 12;

function progressTable(fleet: Fleet, rounds: number, elapsedSeconds: number): string[] {
  const groups = [...fleet.groups.values()];
  const rows = groups.slice(0, MAX_GROUPS_SHOWN).map((tally) => groupRow(tally, rounds));
  const more = groups.length - rows.length;
  return [
    `${"group".padEnd(10)}${"turns".padStart(9)}${"waiting".padStart(9)}${"idle".padStart(6)}${"refused".padStart(9)}` +
    `${"unreachable".padStart(13)}  rebooting`,
    ...rows,
    ...more > 0 ? [`and ${more} more`] : [],
    progressLine(fleet, rounds, elapsedSeconds),
  ];
}

function groupRow({ group, clients, holders, overlaps, refused, unreachable }: GroupTally, rounds: number): string {
  const phases = countPhases(clients);
  const turns = fraction(sum(clients.map((client) => client.turns)), clients.length * rounds);
  const names = [...holders].slice(0, 4).map((client) => client.id.slice(0, 8)).join(" ") +
    (holders.size > 4 ? ` and ${holders.size - 4} more` : "");
  const idle = phases.idle + phases.done + phases.starting;
  return `${group.padEnd(10)}${turns.padStart(9)}${String(phases.waiting).padStart(9)}${String(idle).padStart(6)}` +
    `${String(refused).padStart(9)}${String(unreachable).padStart(13)}  ${names}` +
    (overlaps > 0 ? `  OVERLAPS ${overlaps}` : "");
}

function countPhases(clients: readonly VirtualClient[]): Record<ClientPhase, number> {
  const phases = { starting: 0, idle: 0, waiting: 0, postponing: 0, rebooting: 0, done: 0 };
  for (const client of clients) phases[client.phase]++;
  return phases;
}

interface Totals {
  readonly turns: number;
  readonly refused: number;
  readonly unreachable: number;
  /** Replies with a 5xx. */
  readonly failed: number;
  readonly overlaps: number;
}

function totals(fleet: Fleet): Totals {
  const groups = [...fleet.groups.values()];
  const failed = [...fleet.outcomes].filter(([name]) => /^error (?!unreachable$)/.test(name)).map(([, count]) => count);
  return {
    turns: sum(fleet.clients.map((client) => client.turns)),
    refused: sum(groups.map((tally) => tally.refused)),
    unreachable: sum(groups.map((tally) => tally.unreachable)),
    failed: sum(failed),
    overlaps: sum(groups.map((tally) => tally.overlaps)),
  };
}

function fraction(turns: number, of: number): string {
  return Number.isFinite(of) ? `${turns}/${of}` : `${turns}`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

/**
 * The result of a run in one line, such as `No two hosts of a group rebooted at once: 20 turns, 0 violations`.
 */
export function verdict(summary: Summary): string {
  const { slots, turns, violations, violationCount, lateOverlaps, ended } = summary;
  const counts = `${counted(turns.total, "turn")}, ${counted(violationCount, "violation")}`;
  const many = slots === 1 ? "two hosts" : `more than ${slots} hosts`;
  const text = violations.some((each) => each.kind === "exclusion")
    ? `${capitalized(many)} of a group rebooted at once: ${counts}`
    : violationCount > 0
    ? `The server broke a promise, although no ${many} of a group rebooted at once: ${counts}`
    : lateOverlaps > 0
    ? `${capitalized(many)} of a group rebooted at once after a lost release took effect late: ${counts}`
    : turns.total === 0
    ? `No host rebooted, so this run shows nothing: ${counts}`
    : `No ${many} of a group rebooted at once: ${counts}`;
  return ended === "unreachable" ? `The server became unreachable. ${text}` : text;
}

/** Formats a number with its noun, such as `1 slot` or `2 slots`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Formats a summary as lines of text. */
export function formatSummary(summary: Summary): string {
  const { latencyMs, turns, violations, violationCount } = summary;
  const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;
  const kinds = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts).map(([kind, count]) => `${count} ${kind}`).join(", ") || "none";
  const ended = {
    done: "",
    duration: ", ended by --duration",
    interrupted: ", interrupted",
    unreachable: ", ended because the server was unreachable",
  }[summary.ended];
  const lines: [string, string][] = [
    [
      "simulated",
      `${summary.clients} hosts, ${summary.groups} groups, slots per group: ${summary.slots}, speed ${summary.speed}`,
    ],
    ["took", `${seconds(summary.elapsedMs)}${ended}`],
    ["seed", String(summary.seed)],
    ["requests", String(summary.operations)],
    ["grants", String(summary.grants)],
    ["releases", String(summary.releases)],
    ["refusals", kinds(summary.refusals)],
    ["errors", kinds(summary.errors)],
    [
      "latency",
      latencyMs === undefined ? "no replies" : (["p50", "p90", "p99", "max"] as const)
        .map((name) => `${name} ${latencyMs[name].toFixed(1)} ms`).join(", "),
    ],
    ["longest wait", `${(summary.longestWaitMs / 60_000).toFixed(1)} min of simulated time`],
    ["turns", `${turns.total}, between ${turns.least} and ${turns.most} for each host`],
    ["never granted", `${summary.withoutTurn.length} hosts`],
    ["checked", `${summary.checked} requests`],
    ...summary.cleared > 0
      ? [["cleared", `${counted(summary.cleared, "slot")} of an earlier run at the start`] as [string, string]]
      : [],
    ...summary.left.length > 0
      ? [["left", `${counted(summary.left.length, "slot")} possibly; the next run releases them with --clear`] as [
        string,
        string,
      ]]
      : [],
    ...summary.lateOverlaps > 0
      ? [["late", `${summary.lateOverlaps} overlaps caused by a lost release`] as [string, string]]
      : [],
    ["violations", String(violationCount)],
  ];
  return [
    verdict(summary),
    ...lines.map(([name, value]) => `${name.padEnd(14)}${value}`),
    ...violations.slice(0, 10).map((violation) => `  ${violation.kind} in ${violation.group}: ${violation.message}`),
    ...violationCount > 10 ? [`  and ${violationCount - Math.min(10, violations.length)} more`] : [],
    "",
  ].join("\n");
}
