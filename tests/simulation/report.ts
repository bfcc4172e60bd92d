/**
 * What `deno task explore` prints.
 *
 * @module
 */

import { REFUSALS } from "../../src/lock/outcomes.ts";
import { INCIDENTS } from "./faults.ts";
import type { RunResult } from "./run.ts";
import { clockOf } from "./timeline.ts";

/** How many reboots make a fleet-day: 20 hosts that each reboot once, with drains. */
const HOSTS_OF_A_FLEET = 20;

/** The situations that a long exploration must have reached; one that was not shows as 0. */
const SITUATIONS: readonly string[] = [
  "Lease in deletion at a request",
  "Node in a foreground deletion",
  "Node registered under another name right before a request",
  "call of a killed process arrives",
  "conflict",
  "drain of several processes",
  "history of a group: searched for an order",
  "history of a group: too long or too wide to be searched",
  "history of a run: its slots changed, so that only grants are checked",
  "history of a run: over a restore of etcd",
  "limit reached: a call waits for its turn",
  "limit reached: the queue of calls is full",
  "list in pages",
  "page of a list expired",
  "pod deleted past its budget",
  "pod in a foreground deletion",
  "refused by a budget or overload",
  "release of a hold whose Node is gone",
  "replica waits at rest for what it waited for before the first request",
  "request of a client that is gone is read",
  "resumed drain, after a kill",
  "several hosts reboot at a time",
  "stale watch at a refusal",
  "stale watch at a yes",
  "stale watch of the leases at a request",
  "stale watch of the nodes at a request",
  "version expired",
  ...["proven", "went_back", "late", "changed"].map((outcome) => `wait for the watch of the Nodes: ${outcome}`),
  "write whose answer was lost",
  "yes after another process's drain",
  "yes after kill",
  "yes: after a wait",
  "yes: past the time-out, with pods left (proceed)",
  "yes: with a dead kubelet",
  "yes: with pods that stay",
  "yes: without a Node",
  "yield",
  ...Object.entries(REFUSALS).flatMap(([kind, { endpoints }]) => endpoints.map((endpoint) => `${endpoint}: ${kind}`)),
];

/** The sums of several runs. */
export class Totals {
  readonly situations: Map<string, number> = new Map();
  runs = 0;
  turns = 0;
  virtualMs = 0;
  events = 0;
  failures = 0;

  /** Adds a run. */
  add(result: RunResult): void {
    this.runs++;
    this.turns += result.turns;
    this.virtualMs += result.virtualMs;
    this.events += result.events;
    if (result.violations.length > 0) this.failures++;
    for (const [name, count] of result.timeline.situations) {
      this.situations.set(name, (this.situations.get(name) ?? 0) + count);
    }
  }

  /** The table of situations and the speed, after some seconds of real time and of the processor's. */
  text(seconds: number, cpuSeconds: number): string {
    for (const name of [...SITUATIONS, ...Object.keys(INCIDENTS).map((kind) => `fault: ${kind}`)]) {
      if (!this.situations.has(name)) this.situations.set(name, 0);
    }
    const rows = [...this.situations].sort(([a], [b]) => a < b ? -1 : 1);
    const days = this.turns / HOSTS_OF_A_FLEET;
    return [
      ...rows.map(([name, count]) => `${String(count).padStart(9)}  ${name}`),
      `${this.runs} runs, ${this.failures} with violations; ${this.turns} reboots in ` +
      `${(this.virtualMs / 3_600_000).toFixed(1)} h of virtual time, ${this.events} events`,
      `${days.toFixed(1)} fleet-days (${HOSTS_OF_A_FLEET} hosts that reboot once, with drains) in ` +
      `${seconds.toFixed(1)} s: ${(days / seconds).toFixed(2)} a second, ` +
      `${(days / cpuSeconds).toFixed(2)} a second of processor time`,
    ].join("\n");
  }
}

/** A line about a run. */
export function lineOf(result: RunResult): string {
  const { plan, turns, virtualMs, timeline, violations } = result;
  const what = violations.length === 0 ? "holds" : `FAILS: ${violations[0]!.kind}`;
  return `seed ${plan.seed}: ${plan.store}, ${plan.replicas} replicas, ${plan.hosts.length} hosts, ${turns} reboots, ` +
    `${clockOf(virtualMs)}, ${plan.incidents.length} incidents, run ${timeline.hash()}: ${what}`;
}
