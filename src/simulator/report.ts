/**
 * What a simulation shows: progress while it runs, a summary at its end. Text
 * only; it neither runs nor checks anything.
 *
 * @module
 */

import type { Violation } from "./checker.ts";
import type { ClientPhase, VirtualClient } from "./client.ts";
import type { Fleet, GroupTally } from "./fleet.ts";

/** What became of a simulation; with {@link formatSummary} or as JSON. */
export interface Summary {
  /** Repeats ids and pauses. */
  readonly seed: number;
  /** The service, without the URLs' user and password. */
  readonly targets: readonly string[];
  /** How many hosts. */
  readonly clients: number;
  /** How many groups. */
  readonly groups: number;
  /** How many of a group may reboot at a time. */
  readonly slots: number;
  /** How many times faster than real hosts they lived. */
  readonly speed: number;
  /** How long it took, in real time. */
  readonly elapsedMs: number;
  /** Whether it was ended before each host had its turns: by the duration or by a signal. */
  readonly ended: "done" | "duration" | "interrupted";
  /** How many requests were sent and ended. */
  readonly operations: number;
  /** 2xx to pre-reboot, repeated ones of a holder included. */
  readonly grants: number;
  /** 2xx to steady-state, those of hosts that held nothing included. */
  readonly releases: number;
  /** 4xx, by the reply's kind. */
  readonly refusals: Readonly<Record<string, number>>;
  /** 5xx by the reply's kind, and requests without an answer. */
  readonly errors: Readonly<Record<string, number>>;
  /** How long answers took, in milliseconds; undefined where there was none. */
  readonly latencyMs?: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
  /** The longest way of a host from first asking to a yes, in its own time: milliseconds times speed. */
  readonly longestWaitMs: number;
  /** How many turns the hosts had. */
  readonly turns: { readonly least: number; readonly most: number; readonly total: number };
  /** Hosts that asked and never got a yes, each with its group. */
  readonly withoutTurn: readonly { readonly client: string; readonly group: string }[];
  /** How many violations the checker found. */
  readonly violationCount: number;
  /** The first violations. */
  readonly violations: readonly Violation[];
  /** Times at which too many hosts went down since a lost release had been late: no fault of the locks. */
  readonly lateOverlaps: number;
  /** Operations that the checker saw. Fewer than all where the run was too long to remember. */
  readonly checked: number;
}

/** Where progress goes. */
export interface ProgressSink {
  /** Writes text as it is. */
  readonly write: (text: string) => void;
  /** Whether lines can be written over. */
  readonly isTerminal: boolean;
}

const REDRAW_MS = 200;
const LINE_MS = 5_000;

/** Shows a fleet's progress until disposed of: a table that stays in place on a terminal, else a line now and then. */
export class Progress implements Disposable {
  readonly #fleet: Fleet;
  readonly #rounds: number;
  readonly #sink: ProgressSink;
  readonly #began = performance.now();
  readonly #timer: ReturnType<typeof setInterval>;
  #lines = 0;

  /** Begins to show it; `rounds` is how many turns each host should have. */
  constructor(fleet: Fleet, rounds: number, sink: ProgressSink) {
    this.#fleet = fleet;
    this.#rounds = rounds;
    this.#sink = sink;
    this.#timer = setInterval(() => this.#show(), sink.isTerminal ? REDRAW_MS : LINE_MS);
    if (sink.isTerminal) this.#show();
  }

  /** Shows it a last time, and no more. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#show();
  }

  #show(): void {
    const elapsed = (performance.now() - this.#began) / 1_000;
    if (!this.#sink.isTerminal) return this.#sink.write(`${progressLine(this.#fleet, this.#rounds, elapsed)}\n`);
    const lines = progressTable(this.#fleet, this.#rounds, elapsed);
    // Up to the table's first line, and each line cleared before it is written anew.
    const up = this.#lines === 0 ? "" : `\x1b[${this.#lines}A`;
    this.#sink.write(up + lines.map((line) => `\x1b[2K${line}\n`).join(""));
    this.#lines = lines.length;
  }
}

/** One line on how far a fleet is, such as `  5 s  turns 7/20  waiting 11  rebooting 2  idle 7  requests 93`. */
export function progressLine(fleet: Fleet, rounds: number, elapsedSeconds: number): string {
  const phases = countPhases(fleet.clients);
  const { turns, refused, overlaps } = totals(fleet);
  return [
    `${elapsedSeconds.toFixed(0).padStart(4)} s`,
    `turns ${fraction(turns, fleet.clients.length * rounds)}`,
    `waiting ${phases.waiting}`,
    `rebooting ${phases.rebooting + phases.postponing}`,
    `requests ${fleet.operations}`,
    `refused ${refused}`,
    ...overlaps > 0 ? [`OVERLAPS ${overlaps}`] : [],
  ].join("  ");
}

const MAX_GROUPS_SHOWED = 12;

function progressTable(fleet: Fleet, rounds: number, elapsedSeconds: number): string[] {
  const groups = [...fleet.groups.values()];
  const rows = groups.slice(0, MAX_GROUPS_SHOWED).map((tally) => groupRow(tally, rounds));
  const more = groups.length - rows.length;
  return [
    `${"group".padEnd(10)}${"turns".padStart(9)}${"waiting".padStart(9)}${"idle".padStart(6)}  rebooting`,
    ...rows,
    ...more > 0 ? [`and ${more} more`] : [],
    progressLine(fleet, rounds, elapsedSeconds),
  ];
}

function groupRow({ group, clients, holders, overlaps }: GroupTally, rounds: number): string {
  const phases = countPhases(clients);
  const turns = fraction(sum(clients.map((client) => client.turns)), clients.length * rounds);
  const names = [...holders].slice(0, 4).map((client) => client.id.slice(0, 8)).join(" ") +
    (holders.size > 4 ? ` and ${holders.size - 4} more` : "");
  const idle = phases.idle + phases.done + phases.starting;
  return `${group.padEnd(10)}${turns.padStart(9)}${String(phases.waiting).padStart(9)}${String(idle).padStart(6)}  ` +
    names + (overlaps > 0 ? `  OVERLAPS ${overlaps}` : "");
}

function countPhases(clients: readonly VirtualClient[]): Record<ClientPhase, number> {
  const phases = { starting: 0, idle: 0, waiting: 0, postponing: 0, rebooting: 0, done: 0 };
  for (const client of clients) phases[client.phase]++;
  return phases;
}

function totals(fleet: Fleet): { turns: number; refused: number; overlaps: number } {
  const refused = [...fleet.outcomes].filter(([name]) => name.startsWith("refused")).map(([, count]) => count);
  return {
    turns: sum(fleet.clients.map((client) => client.turns)),
    refused: sum(refused),
    overlaps: sum([...fleet.groups.values()].map((tally) => tally.overlaps)),
  };
}

function fraction(turns: number, of: number): string {
  return Number.isFinite(of) ? `${turns}/${of}` : `${turns}`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

/** Writes a summary for a person, several lines. */
export function formatSummary(summary: Summary): string {
  const { latencyMs, turns, violations, violationCount } = summary;
  const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;
  const kinds = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts).map(([kind, count]) => `${count} ${kind}`).join(", ") || "none";
  const ended = { done: "", duration: ", ended by its duration", interrupted: ", interrupted" }[summary.ended];
  const lines: [string, string][] = [
    [
      "simulated",
      `${summary.clients} hosts, ${summary.groups} groups, ${summary.slots} at a time, speed ${summary.speed}`,
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
      latencyMs === undefined ? "no answers" : (["p50", "p90", "p99", "max"] as const)
        .map((name) => `${name} ${latencyMs[name].toFixed(1)} ms`).join(", "),
    ],
    ["longest wait", `${(summary.longestWaitMs / 60_000).toFixed(1)} min of a host's time`],
    ["turns", `${turns.total}, from ${turns.least} to ${turns.most} a host`],
    [
      "without",
      summary.withoutTurn.length === 0 ? "none asked in vain" : `${summary.withoutTurn.length} asked in vain`,
    ],
    ["checked", `${summary.checked} requests`],
    ...summary.lateOverlaps > 0
      ? [["late", `${summary.lateOverlaps} overlaps after a lost release`] as [string, string]]
      : [],
    ["violations", String(violationCount)],
  ];
  return [
    ...lines.map(([name, value]) => `${name.padEnd(14)}${value}`),
    ...violations.slice(0, 10).map((violation) => `  ${violation.kind} in ${violation.group}: ${violation.message}`),
    ...violationCount > 10 ? [`  and ${violationCount - Math.min(10, violations.length)} more`] : [],
    "",
  ].join("\n");
}
